"""Score a run with evaluation flows: every line, then each metric with its 95 % interval.

An evaluation flow's input takes the column of its own name from the run's outputs, else from the data, else from the
run's inputs; --column-mapping says otherwise. The scores are kept in the run's folder, under scores/. RUN may
be one that `pf run create --data` made. A flow that asks an endpoint, such as a judge, is paced, bounded and tried
again as in batch-run.

Examples:
  phi3flow score @latest
  phi3flow score my-run --flow flows/eval/answer_match --flow flows/eval/answer_quality
  phi3flow score my-run --flow flows/eval/answer_quality --judge-repeats 3 --rpm 300 \\
    --connections judge_line.connection=judge_local judge_line.model=phi3
  phi3flow score my-run --failed-as-zero --output scores.parquet
  phi3flow score my-run --column-mapping answer='${run.outputs.output}' ground_truth='${data.expected}'

Exit codes: 0 every line is scored; 1 some lines failed, in the run or in scoring; 2 usage, configuration or data;
3 an endpoint that the flow asks stays down.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3flow.cli.arguments import add_pairs, add_runs_dir, add_table_output, concurrency, positive_float, positive_int
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.project.paths import ANSWER_MATCH, CONNECTIONS

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from phi3flow.flows import Flow
    from phi3flow.records.scores import Estimate, Judging
    from phi3flow.runs.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("run", metavar="RUN", help="a name (of pf's too), a path, @latest or @previous")
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
    parser.add_argument(
        "--concurrency",
        type=concurrency,
        metavar="N|auto",
        help="lines at once (default: auto, what the endpoint takes; 8 where there is none)",
    )
    parser.add_argument("--rpm", type=positive_float, metavar="N", help="at most N requests a minute")
    parser.add_argument("--tpm", type=positive_float, metavar="N", help="at most N tokens a minute")
    parser.add_argument(
        "--judge-repeats",
        type=positive_int,
        default=1,
        metavar="K",
        help="score each line K times: its score is the mean, and how far they agree is shown (default: 1)",
    )
    parser.add_argument(
        "--failed-as-zero",
        action="store_true",
        help="count a line that failed as the least score (default: it has none), in metrics that apply to all lines",
    )
    add_table_output(parser, "a row for each line and evaluation flow")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.datasets.leaks import leaked_lines
    from phi3flow.flows import load_flow
    from phi3flow.flows.run_file import parse_pairs
    from phi3flow.runs.promptflow_runs import open_run

    found = open_run(args.run, args.runs_dir)
    overrides = parse_pairs(args.connections, flag="--connections")
    loaded = [load_flow(folder) for folder in args.flow or [ANSWER_MATCH]]
    flows = [flow.with_connections(_overrides_of(flow, loaded, overrides)) for flow in loaded]
    mapping = parse_pairs(args.column_mapping, flag="--column-mapping")
    estimates: dict[str, Estimate] = {}
    judging: dict[str, Judging] = {}
    n_failed = 0
    for flow in flows:
        own = _mapping_of(flow, flows, mapping)
        n_failed += _score(found, flow, own, args, terminal)
        metrics = found.metrics(flow.name)
        estimates |= {f"{flow.name}.{name}": one for name, one in metrics.metrics.items()}
        judging |= {flow.name: metrics.judging} if metrics.judging else {}
    leaked = leaked_lines(Path(found.manifest.data), found.data_rows())
    if leaked:
        terminal.note(
            f"warning: {len(leaked)} lines ask what train.jsonl or validation.jsonl beside the data also asks, so the "
            f"scores flatter a model trained on them: lines {', '.join(map(str, leaked[:5]))}{' …' * (len(leaked) > 5)}"
        )
    data = {
        "run": found.name,
        "metrics": {name: one.model_dump(mode="json") for name, one in estimates.items()},
        "leaked_lines": leaked,
        **({"judging": {name: one.model_dump(mode="json") for name, one in judging.items()}} if judging else {}),
    }
    if args.output:
        from phi3flow.storage.tables import write_table

        write_table(args.output, [row for flow in flows for row in _rows(found, flow.name)])
    terminal.result(data, _render(found.name, estimates, judging))
    return 1 if n_failed else 0


def _rows(run: RunFolder, evaluation: str) -> Iterator[dict[str, Any]]:
    """Yield each line's scores as a row of a table."""
    for score in run.scores(evaluation):
        names = {"run": run.name, "evaluation": evaluation, "line_number": score.line_number, "line_id": score.line_id}
        yield {
            **names,
            "status": score.status,
            **score.scores,
            **score.counted_as,
            "error": score.error.message if score.error else None,
        }


def _score(run: RunFolder, flow: Flow, mapping: Mapping[str, str], args: argparse.Namespace, terminal: Terminal) -> int:
    """Score with one flow, show what failed, and return how many lines lack a score that they should have."""
    from phi3flow.cli.terminal.scoring_line import ScoringLine, note_failures
    from phi3flow.connections.resolve import connection_source
    from phi3flow.pacing.limits import Limits
    from phi3flow.scoring import score_run

    with ScoringLine(terminal, run, flow.name) as line:
        score_run(
            run,
            flow=flow,
            column_mapping=mapping,
            connections=connection_source(CONNECTIONS.resolve()),
            limits=Limits(concurrency=args.concurrency, rpm=args.rpm, tpm=args.tpm),
            repeats=args.judge_repeats,
            failed_as_zero=args.failed_as_zero,
            on_line=line.advance,
        )
    return note_failures(run, flow.name, terminal)


def _mapping_of(flow: Flow, flows: list[Flow], mapping: Mapping[str, str]) -> dict[str, str]:
    """Return the part of the mapping that is for ``flow``, with what is for none of the flows (which is refused)."""
    others = {name for other in flows for name in other.inputs} - set(flow.inputs)
    return {name: value for name, value in mapping.items() if name not in others}


def _overrides_of(flow: Flow, flows: list[Flow], overrides: Mapping[str, str]) -> dict[str, str]:
    """Return the part of --connections that is for ``flow``, with what is for no flow's node (which is refused)."""
    own = _nodes(flow)
    others = {name for other in flows for name in _nodes(other)} - own
    return {key: name for key, name in overrides.items() if key.partition(".")[0] not in others}


def _nodes(flow: Flow) -> set[str]:
    return {node["name"] for node in flow.definition.get("nodes") or ()}


def _render(title: str, estimates: Mapping[str, Estimate], judging: Mapping[str, Judging]) -> Group:
    from rich.console import Group
    from rich.text import Text

    from phi3flow.report.wording import judging_lines

    judged = [(name, list(judging_lines(one))) for name, one in judging.items()]
    texts = [Text("\n  ".join([f"{name}: {lines[0]}", *lines[1:]])) for name, lines in judged]
    return Group(_table(title, estimates), *texts)


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
