"""Score a run with evaluation flows: every line, then each metric with its 95 % interval.

A scoring that was interrupted goes on with the same command, and no line is paid twice; one that ended is tried again
where it failed. --fresh scores every line anew: a judge may answer otherwise.

An evaluation flow's input takes the column of its own name from the run's outputs, else from the data, else from the
run's inputs; --column-mapping says otherwise, and no sample default stands in for data (docs/flow-inputs.md). The
scores are kept in the run's folder, under scores/. RUN may be one that `pf run create --data` made. A flow that asks an
endpoint, such as a judge, is paced, bounded and tried again as in batch-run. A line that failed in the run counts as
the worst score of each metric that applies to it.

With --data FILE in place of RUN, answers that are in a file already become a run of the file's name, which compare and
gate take: the file's column answer, or the one that --column-mapping names. A null is a line that failed.

Examples:
  phi3flow score @latest
  phi3flow score my-run --flow flows/eval/answer_match --flow flows/eval/answer_quality
  phi3flow score my-run --flow flows/eval/answer_quality --judge-repeats 3 --rpm 300 \\
    --connections judge_line.connection=judge_local judge_line.model=phi3
  phi3flow score my-run --flow flows/eval/answer_quality --fresh
  phi3flow score my-run --failed-lines left-out --output scores.parquet
  phi3flow score --data answers.jsonl --flow flows/eval/answer_match
  phi3flow score --data answers.jsonl --column-mapping answer='${data.reply}' ground_truth='${data.expected}'
  phi3flow score my-run --column-mapping answer='${run.outputs.output}' ground_truth='${data.expected}'

Exit codes: 0 every line is scored; 1 some lines failed, in the run or in scoring, or the aggregation did;
2 usage, configuration or data; 3 an endpoint that the flow asks stays down.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3flow.cli.arguments import (
    add_pace,
    add_pairs,
    add_runs_dir,
    add_table_output,
    positive_int,
)
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError
from phi3flow.project.paths import ANSWER_MATCH

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from phi3flow.flows import Flow
    from phi3flow.records.scores import Estimate, RunMetrics
    from phi3flow.runs.folder import RunFolder

_LONGEST_NAME = 36  # of a metric, before it is folded


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("run", metavar="RUN", nargs="?", help="a name (of pf's too), a path, @latest or @previous")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="answers in any form that batch-run takes, in place of RUN: they become a run",
    )
    _add_flows(parser)
    add_pace(parser, concurrency_help="lines at once (default: auto, what the endpoint takes; 8 where there is none)")
    parser.add_argument(
        "--judge-repeats",
        type=positive_int,
        default=1,
        metavar="K",
        help="score each line K times: its score is the mean, and how far they agree is shown (default: 1)",
    )
    parser.add_argument(
        "--failed-lines",
        choices=["least", "left-out"],
        default="least",
        help="how a line that failed in the run is read: as the worst score (default), or not at all",
    )
    parser.add_argument("--failed-as-zero", action=_Gone, nargs=0, help=argparse.SUPPRESS)
    parser.add_argument("--fresh", action="store_true", help="score every line anew, whatever was scored before")
    add_table_output(parser, "a row for each line and evaluation flow")
    add_runs_dir(parser)


class _Gone(argparse.Action):
    """Says what became of --failed-as-zero."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.error(
            "--failed-as-zero is gone: failed lines count as the worst score now; "
            "--failed-lines left-out leaves them out"
        )


def _add_flows(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--flow",
        type=Path,
        action="append",
        metavar="FLOW",
        help=f"an evaluation flow; may be repeated (default: {ANSWER_MATCH})",
    )
    add_pairs(
        parser,
        "--column-mapping",
        metavar="INPUT=VALUE",
        help="an input's column, such as '${run.outputs.COLUMN}', or its value (default: the column of its name)",
    )
    add_pairs(parser, "--connections", metavar="NODE.INPUT=NAME", help="another connection for a node's input")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.flows.run_file import parse_pairs
    from phi3flow.runs.promptflow_runs import open_run

    if (args.run is None) == (args.data is None):
        raise ConfigError("give a RUN, or --data FILE with answers")
    flows = _load_flows(args)
    mapping = parse_pairs(args.column_mapping, flag="--column-mapping")
    if args.data:
        from phi3flow.runs.given_answers import map_given, run_of_answers

        scored = run_of_answers(args.data, flows, mapping, args.runs_dir)
        mapping = map_given(scored, mapping)
    else:
        scored = open_run(args.run, args.runs_dir)
    n_failed = sum(_score(scored, flow, _mapping_of(flow, flows, mapping), args, terminal) for flow in flows)
    metrics = {name: scored.metrics(name) for name in map(scored.evaluation_of, flows)}
    leaked = _note_leaks(scored, terminal)
    if args.output:
        from phi3flow.storage.tables import write_table

        write_table(args.output, [row for name in metrics for row in _rows(scored, name)])
    terminal.result(_result(scored.name, metrics, leaked), _render(scored.name, metrics))
    return 1 if n_failed else 0


def _load_flows(args: argparse.Namespace) -> list[Flow]:
    """Return the evaluation flows, with the connections that the flags name for each."""
    from phi3flow.flows import load_flow
    from phi3flow.flows.run_file import parse_pairs

    overrides = parse_pairs(args.connections, flag="--connections")
    flows = [load_flow(folder) for folder in args.flow or [ANSWER_MATCH]]
    return [flow.with_connections(_overrides_of(flow, flows, overrides)) for flow in flows]


def _score(run: RunFolder, flow: Flow, mapping: Mapping[str, str], args: argparse.Namespace, terminal: Terminal) -> int:
    """Score with one flow, and return how much lacks a score that it should have."""
    from phi3flow.cli.terminal.scoring_line import ScoringLine, note_failures
    from phi3flow.connections.resolve import connection_source
    from phi3flow.pacing.limits import Limits
    from phi3flow.scoring import score_run

    with ScoringLine(terminal, run, flow.name) as line:
        score_run(
            run,
            flow=flow,
            column_mapping=mapping,
            connections=connection_source(),
            limits=Limits(concurrency=args.concurrency, rpm=args.rpm, tpm=args.tpm),
            repeats=args.judge_repeats,
            failed_lines="left out" if args.failed_lines == "left-out" else "least",
            fresh=args.fresh,
            on_start=line.start,
            on_line=line.advance,
        )
    return note_failures(run, run.evaluation_of(flow), terminal)


def _note_leaks(run: RunFolder, terminal: Terminal) -> list[int]:
    """Return the numbers of the lines that a training may have seen, and warn of them."""
    from phi3flow.datasets.leaks import leaked_lines

    leaked = leaked_lines(Path(run.manifest.data), run.data_rows())
    if leaked:
        terminal.note(
            f"warning: {len(leaked)} lines ask what train.jsonl or validation.jsonl beside the data also asks, so the "
            f"scores flatter a model trained on them: lines {', '.join(map(str, leaked[:5]))}{' …' * (len(leaked) > 5)}"
        )
    return leaked


def _result(name: str, metrics: Mapping[str, RunMetrics], leaked: list[int]) -> dict[str, Any]:
    """Return what --json prints."""
    texts = {f"{flow}.{name}": text for flow in metrics for name, text in metrics[flow].texts.items()}
    errors = {flow: error.model_dump() for flow in metrics if (error := metrics[flow].aggregation_error)}
    judging = {flow: of_flow.judging.model_dump(mode="json") for flow, of_flow in metrics.items() if of_flow.judging}
    absent = {f"{flow}.{name}": reason for flow in metrics for name, reason in metrics[flow].absent.items()}
    more = {"absent": absent, "texts": texts, "aggregation_errors": errors, "judging": judging}
    return {
        "run": name,
        "failed_lines": next(of_flow.failed_lines for of_flow in metrics.values()),
        "metrics": {name: estimate.model_dump(mode="json") for name, estimate in _estimates(metrics).items()},
        "answered_only": {name: estimate.model_dump(mode="json") for name, estimate in _answered_only(metrics).items()},
        "leaked_lines": leaked,
        **{key: value for key, value in more.items() if value},
    }


def _estimates(metrics: Mapping[str, RunMetrics]) -> dict[str, Estimate]:
    """Return the estimates of all flows by full name."""
    return {f"{flow}.{name}": estimate for flow in metrics for name, estimate in metrics[flow].metrics.items()}


def _answered_only(metrics: Mapping[str, RunMetrics]) -> dict[str, Estimate]:
    """Return the estimates of all flows by full name that differ when failed lines are left out."""
    return {f"{flow}.{name}": estimate for flow in metrics for name, estimate in metrics[flow].answered_only.items()}


def _rows(run: RunFolder, evaluation: str) -> Iterator[dict[str, Any]]:
    """Yield each line's scores as a row of a table."""
    reading = run.metrics(evaluation).failed_lines
    for score in run.scores(evaluation):
        own = {"run": run.name, "evaluation": evaluation, "line_number": score.line_number, "line_id": score.line_id}
        own |= {"status": score.status, "error": score.error.message if score.error else None}
        scores = {metric: score.value(metric, reading) for metric in {**score.scores, **score.counted_as}}
        yield {**own, **scores, **score.texts, **own}


def _mapping_of(flow: Flow, flows: list[Flow], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the mapping that is for ``flow``, with what is for none of the flows (which is refused)."""
    foreign = {name for other in flows for name in other.inputs} - set(flow.inputs)
    return {name: value for name, value in mapping.items() if name not in foreign}


def _overrides_of(flow: Flow, flows: list[Flow], overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the part of --connections that is for ``flow``, with what is for no flow's node (which is refused)."""
    foreign = {name for other in flows for name in _nodes(other)} - _nodes(flow)
    return {key: name for key, name in overrides.items() if key.partition(".")[0] not in foreign}


def _nodes(flow: Flow) -> set[str]:
    return {node["name"] for node in flow.definition.get("nodes") or ()}


def _render(title: str, metrics: Mapping[str, RunMetrics]) -> Group:
    from rich.console import Group
    from rich.text import Text

    from phi3flow.report.wording import absent_lines, judging_lines

    judged = [(flow, list(judging_lines(of_flow.judging))) for flow, of_flow in metrics.items() if of_flow.judging]
    texts = [Text("\n  ".join([f"{flow}: {lines[0]}", *lines[1:]])) for flow, lines in judged]
    estimates = _estimates(metrics)
    notes = [Text(f"{name}: {estimate.note}") for name, estimate in estimates.items() if estimate.note]
    logged = [f"{flow}: {sentence}" for flow in metrics for sentence in absent_lines(metrics[flow].absent)]
    logged += [f"{flow}.{name}: {text}" for flow in metrics for name, text in metrics[flow].texts.items()]
    return Group(_table(title, estimates, _answered_only(metrics)), *notes, *map(Text, logged), *texts)


def _table(title: str, estimates: Mapping[str, Estimate], answered_only: Mapping[str, Estimate]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", overflow="fold", min_width=min(max(map(len, estimates), default=0), _LONGEST_NAME))
    answered = ["answered only"] if answered_only else []
    unscored = ["unscored"] if any(estimate.n_unscored for estimate in estimates.values()) else []
    for name in ("mean", "95 % interval", *answered, "lines", "failed", *unscored):
        table.add_column(name, justify="right")
    table.add_column("method")
    for name, estimate in estimates.items():
        low, high = estimate.low, estimate.high
        interval = "" if low is None or high is None else f"[{low:.4f}, {high:.4f}]"
        other = [_mean(answered_only[name]) if name in answered_only else ""] if answered else []
        counts = [estimate.n, estimate.n_failed - estimate.n_unscored, *([estimate.n_unscored] if unscored else [])]
        table.add_row(name, _mean(estimate), interval, *other, *map(str, counts), estimate.method)
    return table


def _mean(estimate: Estimate) -> str:
    return "none" if estimate.mean is None else f"{estimate.mean:.4f}"
