"""Make train, validation and test files out of a dataset, files of your own, or the sample.

Writes train.jsonl, validation.jsonl, test.jsonl (chats), test_lines.jsonl (evaluation lines for batch-run) and
data_card.json. Duplicates are removed, the split is by conversation, and no question of test stands in train or
validation. A --dataset FOLDER with splits of its own keeps them; those that it lacks are drawn from its train.

Rows may be chats (messages), ShareGPT (conversations), TRL's prompt and completion, Alpaca's instruction, input and
output, or have a question (question, prompt, query, instruction, input) and an answer (answer, completion, response,
output, ground_truth), and turns before them (chat_history, history: read, not learnt); which it was is said. --columns
names others. Other columns are kept, in test_lines.jsonl too. An answer of "weight": 0 makes no test line.

Examples:
  phi3flow prepare-data --dataset HuggingFaceH4/ultrachat_200k --split 'train_sft[:1%]'
  phi3flow prepare-data --input chats.jsonl faq.csv --ratios 80/10/10 --seed 7 --out data
  phi3flow prepare-data --input tickets.csv --columns question=subject answer=reply.text
  phi3flow prepare-data --sample --out data
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3flow.cli.arguments import add_pairs
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError, DatasetError, LeakageError
from phi3flow.project.paths import DATA
from phi3flow.text import plural

if TYPE_CHECKING:
    from rich.table import Table

    from phi3flow.datasets.card import DataCard
    from phi3flow.datasets.preparation import Output
    from phi3flow.datasets.shapes import Rows, ShapeReader

SPLIT = "train_sft[:1%]"
RATIOS = (80.0, 10.0, 10.0)
LISTED_FILES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    _add_source(parser)
    parser.add_argument(
        "--ratios",
        type=_ratios,
        metavar="TRAIN/VALIDATION/TEST",
        help="shares of the conversations (default: 80/10/10); 80/20/0 is a plain 80/20 split with no test held out",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split, or of the sample (default: 0)")
    parser.add_argument("--out", type=Path, default=DATA, metavar="DIR", help="where the files go (default: data)")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files there that are not as prepare-data wrote them"
    )
    parser.add_argument(
        "--last-turn-only", action="store_true", help="test_lines.jsonl has each conversation's last turn only"
    )
    parser.add_argument(
        "--skip-malformed", action="store_true", help="leave malformed rows out and count them, instead of refusing"
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--dataset", metavar="NAME", help="a Hugging Face dataset: its name on the hub, or a folder")
    source.add_argument(
        "--input",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="JSON Lines, a JSON array, CSV, TSV or Parquet, packed by gzip (.gz) or not; or a folder of these",
    )
    source.add_argument(
        "--sample",
        nargs="?",
        const="support",
        choices=("support", "general"),
        help="the sample data: support (default), or the general chat that the base model is trained on",
    )
    add_pairs(
        parser,
        "--columns",
        metavar="NAME=COLUMN",
        help="the columns that hold question, answer, system (message), messages, conversation_id; a.b is the field b "
        "of column a",
    )
    parser.add_argument("--config", metavar="NAME", help="the dataset's configuration (default: its only one)")
    parser.add_argument(
        "--split",
        help="the dataset's split or a slice of it, to split (default: a folder's own splits, else train_sft[:1%%])",
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.datasets.preparation import Output

    output = Output(folder=args.out, overwrite=args.overwrite, last_turn_only=args.last_turn_only)
    if args.sample:
        from phi3flow.sample_data import write_sample

        if args.columns:
            raise ConfigError("--columns does not go with --sample, whose columns are known")
        card = write_sample(output, seed=args.seed, corpus=args.sample)
    else:
        card = _prepare(args, output, terminal)
    terminal.result({"out": str(args.out), **card.model_dump(mode="json", exclude_none=True)}, _table(card, args.out))
    return 0


def _prepare(args: argparse.Namespace, output: Output, terminal: Terminal) -> DataCard:
    from phi3flow.datasets.preparation import prepare, refuse_foreign_files
    from phi3flow.datasets.shapes import Columns, ShapeReader
    from phi3flow.flows.run_file import parse_pairs

    shapes = ShapeReader(Columns.of(parse_pairs(args.columns, flag="--columns")))
    refuse_foreign_files(output)  # before a data set is fetched
    source, splits, pooled = _sources(args, terminal)
    with terminal.progress("{task.description}", "{task.completed} rows", transient=True) as progress:
        conversations = {
            name: progress.track(shapes.chats(rows), description=f"reading {name}") for name, rows in splits.items()
        }
        try:
            return prepare(
                conversations,
                source=source,
                output=output,
                ratios=args.ratios or RATIOS,
                seed=args.seed,
                skip_malformed=args.skip_malformed,
                read_as=shapes.read_as,
            )
        except LeakageError as error:
            raise DatasetError(f"{error}; to split them anew, pool them: {pooled}") from error
        finally:
            _note_shapes(shapes, terminal)


def _sources(args: argparse.Namespace, terminal: Terminal) -> tuple[dict[str, Any], dict[str, Rows], str | None]:
    """Return what the card says of the source, the rows by split, and the flag that pools splits that it has.

    What is yet to be split is train.
    """
    from phi3flow.datasets import sources

    if args.input:
        hashes, rows = sources.read_hashed(args.input)
        return {"files": hashes}, {"train": rows}, None
    dataset = {"dataset": args.dataset, "config": args.config or "default"}
    folder = Path(args.dataset)
    if args.split or not folder.is_dir():
        split = args.split or SPLIT
        rows = sources.read_hugging_face(args.dataset, config=args.config, split=split)
        return {**dataset, "split": split}, {"train": rows}, None
    from phi3flow.datasets.own_splits import find_own_splits

    own = find_own_splits(folder, config=args.config)
    if args.ratios and len(own.rows) == 3:
        raise ConfigError(
            f"--ratios: {folder} has its own {', '.join(own.names.values())}, which stay as they are; to split them "
            f"anew, pool them: {own.pooled}"
        )
    if own.left_out:
        terminal.note(f"{folder}: left out, being neither train, validation nor test: {', '.join(own.left_out)}")
    return {**dataset, "splits": own.names}, own.rows, own.pooled


def _note_shapes(shapes: ShapeReader, terminal: Terminal) -> None:
    read_as: Mapping[str, Mapping[str, int]] = shapes.read_as
    if len(read_as) > LISTED_FILES:
        read_as = {plural(len(read_as), "file"): sum(shapes.read_as.values(), Counter())}
    for source, counts in read_as.items():
        for shape, count in counts.items():
            terminal.note(f"{source}: {plural(count, 'row')} read as {shape}")


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
    if card.test_answers_not_learnt:
        remarks.append(
            f"{plural(card.test_answers_not_learnt, 'answer')} of weight 0 in test: history, and no test line"
        )
    if card.duplicates_removed:
        removed = card.duplicates_removed
        remarks.append(f"{removed.exact} exact and {removed.normalised} normalised duplicates removed")
    for name, count in (card.columns_hidden or {}).items():
        remarks.append(f"the column {name} is not in {plural(count, 'test line')}, which have a {name} of their own")
    if card.malformed_skipped:
        remarks.append(f"{card.malformed_skipped} malformed rows skipped")
    return "; ".join([*remarks, "no question of test stands in train or validation"])
