"""List every breach of the chat format in data files, and count their tokens.

An example counts 3 tokens a message, 1 a name and 3 to prime the reply, as fine-tuning services do. Exits 2 where a
line breaches the format; an example over --max-tokens is named, and no breach. Many breaches are summed up; --json has
all of them. Where the encoding is neither on this machine nor to be fetched, all but the tokens is checked.

Examples:
  phi3flow check-data data/train.jsonl data/validation.jsonl
  phi3flow check-data data/train.jsonl --max-tokens 2048 --encoding cl100k_base
  phi3flow check-data data/train.jsonl --tokenizer local
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import positive_int
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError

if TYPE_CHECKING:
    from phi3flow.datasets.tokens import TokenCounter


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="chats in JSON Lines, or whatever prepare-data takes"
    )
    parser.add_argument(
        "--max-tokens", type=positive_int, default=4096, metavar="N", help="name longer examples (default: 4096)"
    )
    tokenizer = parser.add_mutually_exclusive_group()
    tokenizer.add_argument("--encoding", default="o200k_base", help="tiktoken's encoding (default: o200k_base)")
    tokenizer.add_argument(
        "--tokenizer",
        metavar="PATH",
        help="count with a tokenizer.json or a model folder instead; local: the model last made on this machine",
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from rich.console import Group

    from phi3flow.cli.terminal.token_tables import token_tables
    from phi3flow.datasets.tokens import EncodingMissingError, check_files

    count: TokenCounter | None = None
    without: ConfigError | None = None
    try:
        count = _counter(args.tokenizer, args.encoding)
    except ConfigError as error:
        without = error  # the format can be checked all the same
    checks = check_files(args.files, count=count, max_tokens=args.max_tokens)
    data = {
        "tokenizer": args.tokenizer or args.encoding,
        "max_tokens": args.max_tokens,
        "not_counted": str(without) if without else None,
        "files": [check.model_dump(mode="json") for check in checks],
    }
    terminal.result(data, Group(*(token_tables(check, max_tokens=args.max_tokens) for check in checks)))
    if isinstance(without, EncodingMissingError):
        terminal.note(
            "The format was checked, examples and breaches were counted; the tokens of examples and of assistant "
            f"turns, and the examples over {args.max_tokens} tokens, were not: {without}"
        )
    elif without is not None:
        raise without
    return 2 if any(check.breaches or not check.examples for check in checks) else 0


def _counter(tokenizer: str | None, encoding: str) -> TokenCounter:
    from phi3flow.datasets.tokens import tiktoken_counter, tokenizer_counter

    if tokenizer is None:
        return tiktoken_counter(encoding)
    return tokenizer_counter(_local_model() if tokenizer == "local" else Path(tokenizer))


def _local_model() -> Path:
    from phi3flow.backends.choice import DEFAULT_BACKEND
    from phi3flow.project.state import BackendState

    outputs = [Path(job.output) for job in BackendState(DEFAULT_BACKEND).jobs() if job.output]
    if not outputs:
        raise ConfigError(
            "--tokenizer local: no model has been made here yet; run `phi3flow fine-tune --backend local`, or give "
            "the path of a tokenizer.json or a model folder"
        )
    return outputs[-1]
