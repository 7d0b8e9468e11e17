"""Compare two scored runs line by line; A is the baseline, B the candidate.

Lines are paired by their line_id, also those of runs that `pf` made. Each metric's difference comes with its 95 %
interval and p, and what it takes to be sure: wins, losses and ties, the least effect that these lines would show, the
lines that this difference needs.
The metrics named with --metric are confirmatory and share one level of 5 % (Holm); all others are exploratory.

Examples:
  phi3flow compare @previous @latest
  phi3flow compare base-run tuned-run --metric value_accuracy --metric answer_match.f1
  phi3flow compare old new --pair-by question --json

Exit codes: 0 compared, whatever the outcome; 2 usage, a run that is not scored, no line in common.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import add_runs_dir
from phi3flow.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from phi3flow.records import Comparison, MetricComparison


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("baseline", metavar="A", help="a name (of pf's too), a path, @latest or @previous")
    parser.add_argument("candidate", metavar="B", help="likewise")
    parser.add_argument(
        "--metric",
        action="append",
        metavar="NAME",
        help="a confirmatory metric; may be repeated (default: value_accuracy, else f1)",
    )
    parser.add_argument("--pair-by", metavar="COLUMN", help="pair lines by this column of the data, not by line_id")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.comparison import compare_runs
    from phi3flow.pf_runs import open_run

    baseline, candidate = (open_run(reference, args.runs_dir) for reference in (args.baseline, args.candidate))
    comparison = compare_runs(baseline, candidate, metrics=args.metric, pair_by=args.pair_by)
    terminal.result(comparison.model_dump(mode="json"), render_comparison(comparison))
    return 0


def render_comparison(comparison: Comparison) -> RenderableType:
    """Return a comparison as a person reads it: the table, then a sentence for each confirmatory metric."""
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from phi3flow.comparison import describe_verdict

    title = f"{comparison.candidate} against {comparison.baseline}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for name in ("baseline", "candidate", "difference [95 %]", "p", "won/lost/tied"):
        table.add_column(name, justify="right")
    confirmatory = [name for name, metric in comparison.metrics.items() if metric.p_holm is not None]
    for name, metric in comparison.metrics.items():
        table.add_row(
            name,
            _number(metric.baseline),
            _number(metric.candidate),
            f"{_number(metric.difference.mean, sign=True)} {_interval(metric)}".rstrip(),
            _p(metric.p),
            f"{metric.wins}/{metric.losses}/{metric.ties}",
            style="bold" if name in confirmatory else None,
            end_section=bool(confirmatory) and name == confirmatory[-1],
        )
    unmatched = comparison.unmatched
    lines = f"{comparison.n_paired} lines paired"
    if unmatched.baseline or unmatched.candidate:
        lines += f"; only in the baseline: {unmatched.baseline}, only in the candidate: {unmatched.candidate}"
    sentences = [describe_verdict(name, comparison) for name in confirmatory]
    return Group(table, "\n".join([lines + ".", *sentences]))


def _number(value: float | None, *, sign: bool = False) -> str:
    return "none" if value is None else f"{value:+.3f}" if sign else f"{value:.3f}"


def _interval(metric: MetricComparison) -> str:
    low, high = metric.difference.low, metric.difference.high
    return "" if low is None or high is None else f"[{low:+.3f}, {high:+.3f}]"


def _p(p: float | None) -> str:
    return "none" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
