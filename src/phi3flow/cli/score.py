"""Score a run with evaluation flows: every line, then each metric with its 95 % interval.

An evaluation flow's input takes the column of its own name from the run's outputs, else from the data, else from the
run's inputs; --column-mapping says otherwise. The scores are kept in the run's folder, under scores/. RUN may
be one that `pf run create --data` made.

Examples:
  phi3flow score @latest
  phi3flow score my-run --flow flows/eval/answer_match --flow flows/eval/answer_quality
  phi3flow score my-run --column-mapping answer='${run.outputs.output}' ground_truth='${data.expected}'

Exit codes: 0 every line is scored; 1 some lines failed, in the run or in scoring; 2 usage, configuration or data.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import add_runs_dir, positive_int
from phi3flow.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.table import Table

    from phi3flow.flows import Flow
    from phi3flow.records import Estimate, LineScore
    from phi3flow.run_store import RunFolder

DEFAULT_FLOW = Path("flows/eval/answer_match")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("run", metavar="RUN", help="a name (of pf's too), a path, @latest or @previous")
    parser.add_argument(
        "--flow",
        type=Path,
        action="append",
        metavar="FLOW",
        help=f"an evaluation flow; may be repeated (default: {DEFAULT_FLOW})",
    )
    parser.add_argument("--column-mapping", nargs="+", action="extend", default=[], metavar="INPUT=VALUE")
    parser.add_argument("--concurrency", type=positive_int, default=8, metavar="N", help="lines at once (default: 8)")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.flows import load_flow
    from phi3flow.pf_runs import open_run
    from phi3flow.run_config import parse_pairs
    from phi3flow.scoring import leaked_lines

    found = open_run(args.run, args.runs_dir)
    flows = [load_flow(folder) for folder in args.flow or [DEFAULT_FLOW]]
    mapping = parse_pairs(args.column_mapping, flag="--column-mapping")
    estimates: dict[str, Estimate] = {}
    n_failed = 0
    for flow in flows:
        own = _mapping_of(flow, flows, mapping)
        n_failed += score_with_progress(found, flow, own, terminal=terminal, concurrency=args.concurrency)
        estimates |= {f"{flow.name}.{name}": one for name, one in found.metrics(flow.name).metrics.items()}
    leaked = leaked_lines(found)
    if leaked:
        terminal.note(
            f"warning: {len(leaked)} lines ask what train.jsonl or validation.jsonl beside the data also asks, so the "
            f"scores flatter a model trained on them: lines {', '.join(map(str, leaked[:5]))}{' …' * (len(leaked) > 5)}"
        )
    metrics = {name: one.model_dump(mode="json") for name, one in estimates.items()}
    terminal.result({"run": found.name, "metrics": metrics, "leaked_lines": leaked}, _table(found.name, estimates))
    return 1 if n_failed else 0


def score_with_progress(
    run: RunFolder, flow: Flow, mapping: Mapping[str, str], *, terminal: Terminal, concurrency: int = 8
) -> int:
    """Score with one flow, show what failed, and return how many lines have no score."""
    from phi3flow.connections import resolve_connection
    from phi3flow.scoring import score_run

    folder = Path("connections").resolve()
    with terminal.progress() as progress:
        task = progress.add_task(f"{run.name} by {flow.name}", total=run.manifest.counts.completed)
        score_run(
            run,
            flow=flow,
            column_mapping=mapping,
            connections=lambda name: resolve_connection(name, folder=folder).to_promptflow(),
            concurrency=concurrency,
            on_line=lambda _: progress.advance(task),
        )
    scores = run.scores(flow.name)
    failed = [score for score in scores if score.status == "Failed"]
    if failed:
        terminal.note(
            f"{flow.name}: {len(failed)} of {len(scores)} lines have no score; the first: {_reason(failed[0])}"
        )
    if missing := run.manifest.counts.total - len(scores):
        terminal.note(f"{run.name} is {run.manifest.status}: {missing} lines were not run yet, and are not scored")
    return len(failed)


def _reason(score: LineScore) -> str:
    error = score.error
    return f"line {score.line_number}: {error.type}: {error.message}" if error else f"line {score.line_number}"


def _mapping_of(flow: Flow, flows: list[Flow], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the mapping that is for ``flow``, with what is for none of the flows (which is refused)."""
    others = {name for other in flows for name in other.inputs} - set(flow.inputs)
    return {name: value for name, value in mapping.items() if name not in others}


def _table(title: str, estimates: Mapping[str, Estimate]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("metric", overflow="fold")
    for name in ("mean", "95 % interval", "lines", "failed"):
        table.add_column(name, justify="right")
    table.add_column("method")
    for name, one in estimates.items():
        mean = "none" if one.mean is None else f"{one.mean:.4f}"
        interval = "" if one.low is None or one.high is None else f"[{one.low:.4f}, {one.high:.4f}]"
        table.add_row(name, mean, interval, str(one.n), str(one.n_failed), one.method)
    return table
