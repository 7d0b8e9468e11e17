"""Engines: where the lines of a batch run are executed, and what batch-run says to each of them (``engine``).

``table`` alone knows them by name. An engine says of itself what it cannot follow and what it costs; nothing else asks
which one it is. None of them scores a line.
"""
