"""Compare scored runs line by line; A is the baseline, each B a candidate.

Lines are paired by their line_id, also those of runs that `pf` made. A line that failed in its run counts as the
metric's worst score; where the lines that both answered show something else, nothing is decided. Each metric's
difference comes with its 95 % interval and p, and a verdict: better, worse, equivalent (within a --margin), or
undecided, with the reason and what it would take.
The metrics named with --metric are confirmatory and share one level of 5 % over all candidates: a verdict needs p_holm
and an interval at that level. All others are exploratory. With --by they are compared within slices too: by a column of
the data, such as kind or language, or by the length of one (question.length); a number of many values is cut into
quartiles, and all slices share one level.
Runs that were scored by different rulers (the evaluation flow's files, its column mapping, its judge, --failed-lines)
are not compared. An evaluation that differs beside the one compared is left out, with a note.

Examples:
  phi3flow compare @previous @latest
  phi3flow compare base-run tuned-run --metric value_accuracy --metric answer_match.f1
  phi3flow compare old new --pair-by question --json
  phi3flow compare base tuned --metric value_accuracy --metric f1 --margin 0.05 --margin f1=0.02
  phi3flow compare base few-shot tuned --by kind --by question.length --output comparison.csv
  phi3flow compare base tuned --judge judge_local --judge-model phi3

Exit codes: 0 compared, whatever the outcome; 1 the judge gave no verdict on some pairs; 2 usage, a run that is not
scored, different rulers, no line in common; 3 the judge stays down.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from phi3flow.cli.arguments import add_runs_dir, add_table_output
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError
from phi3flow.project.paths import ANSWER_PREFERENCE

if TYPE_CHECKING:
    from phi3flow.records.comparisons import Comparison, MetricComparison, Preferences
    from phi3flow.runs.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("baseline", metavar="A", help="a name (of pf's too), a path, @latest or @previous")
    parser.add_argument("candidates", metavar="B", nargs="+", help="likewise; several are each compared with A")
    parser.add_argument(
        "--metric",
        action="append",
        metavar="NAME",
        help="a confirmatory metric; may be repeated (default: value_accuracy if half of the lines have it, else f1)",
    )
    parser.add_argument(
        "--margin",
        action="append",
        default=[],
        metavar="[METRIC=]NUMBER",
        help="runs that differ by less are equivalent: of all confirmatory metrics, or of one; may be repeated",
    )
    parser.add_argument("--pair-by", metavar="COLUMN", help="pair lines by this column of the data, not by line_id")
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="compare within slices too; may be repeated"
    )
    parser.add_argument(
        "--judge",
        metavar="CONNECTION",
        help="have a model prefer one of each two answers too, in both orders (flows/eval/answer_preference)",
    )
    parser.add_argument("--judge-model", metavar="NAME", help="its model; on Azure the deployment's name")
    add_table_output(parser, "a row for each metric and slice")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.cli.terminal.comparison_tables import describe_preferences, render_comparisons
    from phi3flow.comparison.compare import compare_with_baseline
    from phi3flow.comparison.margins import parse_margins
    from phi3flow.runs.promptflow_runs import open_run

    margins = parse_margins(args.margin)
    baseline, *candidates = (open_run(reference, args.runs_dir) for reference in (args.baseline, *args.candidates))
    comparisons = compare_with_baseline(
        baseline, candidates, metrics=args.metric, pair_by=args.pair_by, by=args.by, margins=margins
    )
    if args.judge_model and not args.judge:
        raise ConfigError("--judge-model names the model of --judge CONNECTION: give that too")
    judged = [_judge(baseline, candidate, args, terminal) for candidate in candidates] if args.judge else []
    objects = [_object(comparison, with_slices=bool(args.by)) for comparison in comparisons]
    for compared, preferences in zip(objects, judged, strict=False):
        compared["judged"] = preferences.model_dump(mode="json")
    data = objects[0] if len(objects) == 1 else {"baseline": baseline.name, "comparisons": objects}
    if args.output:
        from phi3flow.storage.tables import write_table

        write_table(args.output, [row for comparison in comparisons for row in _rows(comparison)])
    from rich.console import Group

    terminal.result(data, Group(render_comparisons(comparisons), *map(describe_preferences, judged)))
    return 1 if any(preferences.n_failed for preferences in judged) else 0


def _object(comparison: Comparison, *, with_slices: bool) -> dict[str, Any]:
    """Return a comparison as --json prints it: notes where there are any, slices with --by."""
    left_out = set() if with_slices else {"slices", "slices_note"}
    if not comparison.notes:
        left_out |= {"notes", "measured_otherwise"}
    return comparison.model_dump(mode="json", exclude=left_out)


def _judge(baseline: RunFolder, candidate: RunFolder, args: argparse.Namespace, terminal: Terminal) -> Preferences:
    from phi3flow.connections.resolve import connection_source
    from phi3flow.flows import load_flow
    from phi3flow.scoring.judging import judge_pairs

    model = {"compare_answers.model": args.judge_model} if args.judge_model else {}
    flow = load_flow(ANSWER_PREFERENCE).with_connections({"compare_answers.connection": args.judge, **model})
    with terminal.progress() as progress:
        task = progress.add_task(f"{candidate.name} against {baseline.name}, judged", total=None)
        return judge_pairs(
            baseline,
            candidate,
            flow=flow,
            connections=connection_source(),
            on_pair=lambda: progress.advance(task),
        )


def _rows(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """Yield a row for each metric over all lines, then within each slice."""
    runs = {"baseline_run": comparison.baseline, "candidate_run": comparison.candidate}
    slices = [(piece.column, piece.value, piece.metrics) for piece in comparison.slices]
    for column, value, metrics in [(None, None, comparison.metrics), *slices]:
        for name, metric in metrics.items():
            yield {**runs, "metric": name, "slice_column": column, "slice_value": value, **_columns(metric)}


def _columns(metric: MetricComparison) -> dict[str, Any]:
    """Return a metric's fields, with a column for each number of the records within it, also where there is none."""
    from phi3flow.records.comparisons import AnsweredOnly, Difference

    absent = Difference(mean=None)
    nested = {
        "difference": metric.difference,
        "simultaneous": metric.simultaneous or absent,
        "failed": metric.failed,
        "unscored": metric.unscored,
        "answered_only_difference": metric.answered_only.difference if metric.answered_only else absent,
        "answered_only": metric.answered_only or AnsweredOnly(baseline=None, candidate=None, difference=absent, p=None),
    }
    columns = metric.model_dump(exclude=set(nested))
    for name, record in nested.items():
        columns |= {f"{name}_{key}": value for key, value in record.model_dump(exclude={"difference"}).items()}
    return columns
