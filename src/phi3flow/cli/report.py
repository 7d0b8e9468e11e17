"""Write one HTML file about runs: what they show, and every line side by side.

The file holds everything it needs and asks no network: open it from disk, mail it, keep it with the release. With two
or more runs the first is the baseline that the others are compared with. With --by they are compared, or one run's
scores are shown, within slices too: by a column of the data, such as kind or language, or by the length of one
(question.length). With --serve nothing is written: a server at 127.0.0.1 shows the report, and follows runs that are
still going until Ctrl-C.

Examples:
  phi3flow report @latest --open
  phi3flow report base-run tuned-run --training .quickstart/tuned --output report.html
  phi3flow report variant-a variant-b --baseline last-release --by kind --by question.length
  phi3flow report @latest --serve
  MLFLOW_TRACKING_URI=http://127.0.0.1:5000 phi3flow report base-run tuned-run --mlflow

Exit codes: 0 written; 2 usage, no such run, damaged files, runs that were measured differently; 130 --serve was
interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import add_runs_dir
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError, RulerMismatchError

if TYPE_CHECKING:
    from phi3flow.records.comparisons import Comparison
    from phi3flow.runs.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a name (of pf's too), a path, @latest or @previous")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--output", type=Path, metavar="FILE", help="where to write (default: report.html in the last run's folder)"
    )
    target.add_argument("--serve", action="store_true", help="serve it on this machine, and follow running runs")
    parser.add_argument("--open", action="store_true", help="open it in the browser")
    parser.add_argument(
        "--mlflow", action="store_true", help="log the runs, with it, to MLFLOW_TRACKING_URI (default: mlflow.db)"
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
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="show slices by this column too; may be repeated"
    )
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    runs = _find_runs(([args.baseline] if args.baseline else []) + args.runs, args.runs_dir)
    if args.serve and args.mlflow:
        raise ConfigError("--mlflow logs the written report; --serve writes none")
    return _serve(runs, args, terminal) if args.serve else _write(runs, args, terminal)


def _write(runs: Sequence[RunFolder], args: argparse.Namespace, terminal: Terminal) -> int:
    from phi3flow.report import read_training, write_report

    path = write_report(
        runs,
        comparison=_compare(runs, args.by, terminal.note),
        training=[read_training(folder) for folder in args.training],
        by=args.by,
        output=args.output or runs[-1].path / "report.html",
    )
    data = {"report": str(path), "runs": [run.name for run in runs], "size_bytes": path.stat().st_size}
    if args.mlflow:
        from phi3flow.tracking.runs import track_run

        data["mlflow"] = {run.name: track_run(run, report=path) for run in runs}
    terminal.result(data, path.resolve().as_uri())
    if args.open:
        _open(path.resolve().as_uri(), terminal)
    return 0


def _serve(runs: Sequence[RunFolder], args: argparse.Namespace, terminal: Terminal) -> int:
    from phi3flow.report import read_training
    from phi3flow.report.live import serve_report

    training = [read_training(folder) for folder in args.training]
    noted: set[str] = set()

    def note(text: str) -> None:
        """Say once what every page would repeat."""
        if text not in noted:
            noted.add(text)
            terminal.note(text)

    def announce(url: str) -> None:
        terminal.result({"url": url, "runs": [run.name for run in runs]}, url)
        terminal.note("Ctrl-C ends it")
        if args.open:
            _open(url, terminal)

    serve_report(
        runs, compare=lambda: _compare(runs, args.by, note), training=training, by=args.by, on_ready=announce, note=note
    )
    return 0


def _open(url: str, terminal: Terminal) -> None:
    import webbrowser

    if not webbrowser.open(url):
        terminal.note(f"no browser was found: open {url} yourself")


def _find_runs(references: Sequence[str], runs_dir: Path) -> list[RunFolder]:
    """Return each run once, in the order given. Raises ConfigError where two have one name."""
    from phi3flow.runs.promptflow_runs import open_run

    by_path = {run.path: run for run in (open_run(reference, runs_dir) for reference in references)}
    by_name: dict[str, Path] = {}
    for path, run in by_path.items():
        if other := by_name.get(run.name):
            raise ConfigError(f"{other} and {path} are both named {run.name}: a report needs to tell them apart")
        by_name[run.name] = path
    return list(by_path.values())


def _compare(runs: Sequence[RunFolder], by: Sequence[str], note: Callable[[str], None]) -> list[Comparison]:
    """Compare every run with the first; one that cannot be compared is noted, and reported without.

    Raises ConfigError where the data have no column of ``by``, RulerMismatchError where different rulers measured the
    runs: their scores would stand side by side.
    """
    from phi3flow.comparison.compare import compare_runs, compare_with_baseline

    comparisons: dict[RunFolder, Comparison] = {}
    for candidate in runs[1:]:
        try:
            comparisons[candidate] = compare_runs(runs[0], candidate)
        except RulerMismatchError:
            raise
        except ConfigError as error:
            note(f"without a comparison: {error}")
    if by or len(comparisons) > 1:  # once more, together: p_holm counts all candidates
        return compare_with_baseline(runs[0], list(comparisons), by=by)
    return list(comparisons.values())
