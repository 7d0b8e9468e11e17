"""Publish the flow (phi3flow publish).

Examples:
  python scripts/publish.py flows/chat_phi3 --to foundry
"""

import sys

from phi3flow.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["publish", *sys.argv[1:]]))
