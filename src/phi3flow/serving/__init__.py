"""The local endpoint: one process that serves a model folder over the wire contract and OpenAI's protocol.

``loading`` reads the folder, ``slots`` keeps the keys and values of the conversations in flight, ``sampling``
picks tokens, ``answers`` turns them into text, ``batching`` runs all requests together, ``protocol`` is what
goes over the wire, ``observation`` what is measured and logged, and ``server`` the HTTP around it. It never trains, and
never answers without the key.
"""

STOPPED = '{"event": "stopped"}'
"""The last line that a server which was told to stop writes to its log; one that died does not."""
