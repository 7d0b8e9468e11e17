"""``python -m phi3flow``: the same as ``phi3flow``."""

import sys

from phi3flow.cli.main import main

sys.exit(main())
