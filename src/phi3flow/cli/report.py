"""Write one HTML file about runs: what they show, and every line side by side.

The file holds everything it needs and asks no network: open it from disk, mail it, keep it with the release. With two
or more runs the first is the baseline that the others are compared with.

Examples:
  phi3flow report @latest
  phi3flow report base-run tuned-run --training .quickstart/tuned --output report.html
  phi3flow report variant-a variant-b --baseline last-release

Exit codes: 0 written; 2 usage, no such run, damaged files.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import add_runs_dir
from phi3flow.cli.terminal import Terminal
from phi3flow.errors import ConfigError

if TYPE_CHECKING:
    from phi3flow.records import Comparison
    from phi3flow.run_store import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a name (of pf's too), a path, @latest or @previous")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write (default: report.html in the last run's folder)"
    )
    parser.add_argument(
        "--training",
        nargs="+",
        type=Path,
        default=[],
        metavar="DIR",
        help="output folders of fine-tune, for its curves",
    )
    parser.add_argument("--baseline", metavar="RUN", help="the run to compare with (default: the first)")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.report import read_training, write_report

    runs = _find_runs(([args.baseline] if args.baseline else []) + args.runs, args.runs_dir)
    path = write_report(
        runs,
        comparison=_compare(runs, terminal),
        training=[read_training(folder) for folder in args.training],
        output=args.output or runs[-1].path / "report.html",
    )
    data = {"report": str(path), "runs": [run.name for run in runs], "size_bytes": path.stat().st_size}
    terminal.result(data, path.resolve().as_uri())
    return 0


def _find_runs(references: Sequence[str], runs_dir: Path) -> list[RunFolder]:
    """Return each run once, in the order given. Raises ConfigError where two have one name."""
    from phi3flow.pf_runs import open_run

    by_path = {found.path: found for found in (open_run(reference, runs_dir) for reference in references)}
    by_name: dict[str, Path] = {}
    for path, found in by_path.items():
        if other := by_name.get(found.name):
            raise ConfigError(f"{other} and {path} are both named {found.name}: a report needs to tell them apart")
        by_name[found.name] = path
    return list(by_path.values())


def _compare(runs: Sequence[RunFolder], terminal: Terminal) -> list[Comparison]:
    """Compare every run with the first; one that cannot be compared is noted, and reported without."""
    from phi3flow.comparison import compare_runs

    comparisons = []
    for candidate in runs[1:]:
        try:
            comparisons.append(compare_runs(runs[0], candidate))
        except ConfigError as error:
            terminal.note(f"without a comparison: {error}")
    return comparisons
