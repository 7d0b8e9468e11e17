"""Make train, validation and test files out of a dataset (phi3flow prepare-data).

Examples:
  python scripts/prepare_data.py --sample
  python scripts/prepare_data.py --dataset HuggingFaceH4/ultrachat_200k --config default --split 'train_sft[:1%]'
"""

import sys

from phi3flow.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["prepare-data", *sys.argv[1:]]))
