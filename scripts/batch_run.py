"""Run the flow over the held-out test lines (phi3flow batch-run).

Examples:
  python scripts/batch_run.py flows/chat_phi3 --data data/test_lines.jsonl
"""

import sys

from phi3flow.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["batch-run", *sys.argv[1:]]))
