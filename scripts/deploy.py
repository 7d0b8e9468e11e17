"""Deploy a model as an endpoint (phi3flow deploy).

Examples:
  PHI3_KEY=... python scripts/deploy.py --backend local models/phi3-support
"""

import sys

from phi3flow.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["deploy", *sys.argv[1:]]))
