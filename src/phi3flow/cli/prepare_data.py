"""Make train, validation and test files out of a dataset, files of your own, or the sample.

Writes train.jsonl, validation.jsonl, test.jsonl (chats), test_lines.jsonl (evaluation lines for batch-run) and
data_card.json. Duplicates are removed, the split is by conversation, and no question of test stands in train or
validation.

Examples:
  phi3flow prepare-data --dataset HuggingFaceH4/ultrachat_200k --split 'train_sft[:1%]'
  phi3flow prepare-data --input chats.jsonl faq.csv --ratios 80/10/10 --seed 7 --out data
  phi3flow prepare-data --sample --out data
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.project.paths import DATA

if TYPE_CHECKING:
    from rich.table import Table

    from phi3flow.datasets.card import DataCard


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", metavar="NAME", help="a Hugging Face dataset: its name on the hub, or a folder")
    source.add_argument(
        "--input",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="JSON Lines, CSV or Parquet, with messages, or with question (or prompt) and answer (or completion, "
        "ground_truth)",
    )
    source.add_argument(
        "--sample",
        nargs="?",
        const="support",
        choices=("support", "general"),
        help="the sample data: support (default), or the general chat that the base model is trained on",
    )
    parser.add_argument("--config", metavar="NAME", help="the dataset's configuration (default: its only one)")
    parser.add_argument(
        "--split", default="train_sft[:1%]", help="the dataset's split or a slice of it (default: train_sft[:1%%])"
    )
    parser.add_argument(
        "--ratios",
        type=_ratios,
        default=(80.0, 10.0, 10.0),
        metavar="TRAIN/VALIDATION/TEST",
        help="shares of the conversations (default: 80/10/10); 80/20/0 is a plain 80/20 split with no test held out",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split, or of the sample (default: 0)")
    parser.add_argument("--out", type=Path, default=DATA, metavar="DIR", help="where the files go (default: data)")
    parser.add_argument(
        "--last-turn-only", action="store_true", help="test_lines.jsonl has each conversation's last turn only"
    )
    parser.add_argument(
        "--skip-malformed", action="store_true", help="leave malformed rows out and count them, instead of refusing"
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    if args.sample:
        from phi3flow.sample_data import write_sample

        card = write_sample(args.out, seed=args.seed, corpus=args.sample, last_turn_only=args.last_turn_only)
    else:
        card = _prepare(args, terminal)
    terminal.result({"out": str(args.out), **card.model_dump(mode="json", exclude_none=True)}, _table(card, args.out))
    return 0


def _prepare(args: argparse.Namespace, terminal: Terminal) -> DataCard:
    from phi3flow.datasets import sources
    from phi3flow.datasets.preparation import prepare
    from phi3flow.storage.data_files import data_sha256

    source: dict[str, Any]
    if args.dataset:
        source = {"dataset": args.dataset, "config": args.config or "default", "split": args.split}
        conversations = sources.read_hugging_face(args.dataset, config=args.config, split=args.split)
    else:
        source = {"files": {str(path): data_sha256(path) for path in args.input}}
        conversations = sources.read_files(args.input)
    with terminal.progress("{task.description}", "{task.completed} rows", transient=True) as progress:
        return prepare(
            progress.track(conversations, description="reading"),
            source=source,
            out=args.out,
            ratios=args.ratios,
            seed=args.seed,
            skip_malformed=args.skip_malformed,
            last_turn_only=args.last_turn_only,
        )


def _ratios(text: str) -> tuple[float, ...]:
    try:
        ratios = tuple(float(share) for share in text.split("/"))
    except ValueError:
        ratios = ()
    if len(ratios) != 3 or not all(0 <= ratio < float("inf") for ratio in ratios) or not ratios[0]:
        raise argparse.ArgumentTypeError(f"{text!r} is not three numbers such as 80/10/10, the first above 0")
    return ratios


def _table(card: DataCard, out: Path) -> Table:
    from rich.table import Table

    table = Table(title=f"{out}", title_justify="left")
    for column in ("split", "conversations", "turns", "several turns", "sha256"):
        table.add_column(column, justify="left" if column in ("split", "sha256") else "right")
    for name, split in card.splits.items():
        facts = (split.conversations, split.turns, split.multi_turn)
        table.add_row(name, *map(str, facts), card.files[f"{name}.jsonl"].sha256[:12])
    table.caption = _caption(card)
    table.caption_justify = "left"
    return table


def _caption(card: DataCard) -> str:
    remarks = [f"{card.files['test_lines.jsonl'].rows} test lines"]
    if card.leakage.test_lines_left_out:
        remarks.append(f"{card.leakage.test_lines_left_out} more left out: their question also stands in train")
    if card.duplicates_removed:
        removed = card.duplicates_removed
        remarks.append(f"{removed.exact} exact and {removed.normalised} normalised duplicates removed")
    if card.malformed_skipped:
        remarks.append(f"{card.malformed_skipped} malformed rows skipped")
    return "; ".join([*remarks, "no question of test stands in train or validation"])
