"""This machine as a backend: it trains in this process, and serves in processes that outlive the terminal.

It never leaves the machine, and knows a process by its id and start time, so that it never ends anybody else's.
"""

BACKEND = "local"
"""What ``--backend`` calls it."""
