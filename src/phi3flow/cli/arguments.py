"""Flags and argument types that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path

from phi3flow.backends.choice import BACKENDS, DEFAULT_BACKEND
from phi3flow.errors import ConfigError
from phi3flow.project.paths import RUNS


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend``, one of those there are."""
    parser.add_argument(
        "--backend", choices=tuple(BACKENDS), default=DEFAULT_BACKEND, help="where (default: %(default)s)"
    )


def add_runs_dir(parser: argparse._ActionsContainer) -> None:
    """Add ``--runs-dir``."""
    parser.add_argument(
        "--runs-dir", type=Path, default=RUNS, metavar="DIR", help="where runs are kept (default: .runs)"
    )


def add_pairs(parser: argparse._ActionsContainer, flag: str, *, metavar: str, help: str) -> None:
    """Add a flag that takes any number of key=value, and may be repeated."""
    parser.add_argument(flag, nargs="+", action="extend", default=[], metavar=metavar, help=help)


def add_pace(parser: argparse._ActionsContainer, *, concurrency_help: str) -> None:
    """Add the flags that bound how fast an endpoint is asked."""
    parser.add_argument("--concurrency", type=concurrency, metavar="N|auto", help=concurrency_help)
    parser.add_argument("--rpm", type=positive_float, metavar="N", help="at most N requests a minute")
    parser.add_argument("--tpm", type=positive_float, metavar="N", help="at most N tokens a minute")


def add_table_output(parser: argparse.ArgumentParser, rows: str) -> None:
    """Add ``--output`` for a table of ``rows``."""
    parser.add_argument("--output", type=_table_file, metavar="FILE", help=f"write {rows} as .csv or .parquet")


def _table_file(text: str) -> Path:
    from phi3flow.storage.tables import check_table_name

    try:
        return check_table_name(Path(text))
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("--output ")) from error


def positive_int(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def concurrency(text: str) -> int | None:
    """Parse a whole number of at least 1; None for ``auto``."""
    return None if text == "auto" else positive_int(text)


def positive_float(text: str) -> float:
    """Parse a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def share(text: str) -> float:
    """Parse a number between 0 and 1, which are none themselves."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a share between 0 and 1, such as 0.1")
    return value


def percentage(text: str) -> float:
    """Parse a number from 0 to 100; a % sign after it is allowed."""
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 100.0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage from 0 to 100")
    return value
