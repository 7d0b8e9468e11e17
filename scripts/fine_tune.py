"""Fine-tune a model (phi3flow fine-tune).

Examples:
  python scripts/fine_tune.py --backend local --output models/phi3-support
  python scripts/fine_tune.py --backend local --model ~/models/Phi-3-mini-4k-instruct --output models/phi3-support
"""

import sys

from phi3flow.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["fine-tune", *sys.argv[1:]]))
