"""Score a run with an evaluation flow (phi3flow score).

Examples:
  python scripts/score.py @latest --flow flows/eval/answer_match
"""

import sys

from phi3flow.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["score", *sys.argv[1:]]))
