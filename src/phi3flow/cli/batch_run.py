"""Run a flow over every line of a JSON Lines file and keep what comes out in a run folder.

Lines run concurrently; a line that fails is recorded and the run goes on. The same command given again finishes an
interrupted run, or tries its failed lines once more. With several variants, each gets a run, all are scored by
flows/eval/answer_match, and each is compared with the first.

Examples:
  phi3flow batch-run flows/chat_phi3 --data data/test_lines.jsonl
  phi3flow batch-run flows/chat_phi3 --variant concise --variant few_shot --limit 50
  phi3flow batch-run flows/chat_phi3 --run flows/chat_phi3/run.yml --connections chat.connection=phi3_base
  phi3flow batch-run flows/chat_phi3 --data test.jsonl --column-mapping question='${data.prompt}' temperature=0

Exit codes: 0 every line completed; 1 some failed; 2 usage, configuration or data; 130 interrupted.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3flow.cli.arguments import add_runs_dir, positive_int
from phi3flow.cli.terminal import Terminal
from phi3flow.errors import ConfigError

if TYPE_CHECKING:
    from phi3flow.records import LineResult, Manifest
    from phi3flow.run_config import RunConfig
    from phi3flow.run_store import RunFolder

DEFAULT_DATA = Path("data/test_lines.jsonl")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("flow", type=Path, help="the flow's folder")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE",
        help="JSON Lines, one line a row (default: the run.yml's, else data/test_lines.jsonl)",
    )
    parser.add_argument("--run", type=Path, metavar="FILE", help="a run.yml, as for pf run create --file")
    parser.add_argument("--column-mapping", nargs="+", action="extend", default=[], metavar="INPUT=VALUE")
    parser.add_argument("--connections", nargs="+", action="extend", default=[], metavar="NODE.INPUT=NAME")
    parser.add_argument("--variant", action="append", default=[], help="a variant; repeat it for a run each")
    parser.add_argument("--name", help="the run's name (default: after flow, variant and fingerprint)")
    parser.add_argument(
        "--concurrency", type=positive_int, default=32, metavar="N", help="lines in flight (default: 32)"
    )
    parser.add_argument(
        "--timeout-s", type=float, default=180.0, metavar="S", help="seconds for one attempt (default: 180)"
    )
    parser.add_argument("--max-retries", type=int, default=5, metavar="N", help="retries of a line (default: 5)")
    parser.add_argument("--limit", type=positive_int, metavar="N", help="only the first N lines")
    parser.add_argument("--fresh", action="store_true", help="start the run over")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.run_config import RunConfig, load_run_config

    config = load_run_config(args.run) if args.run else RunConfig()
    variants = args.variant or [config.variant]
    if len(variants) > 1 and args.name:
        raise ConfigError("--name names one run, but there are several variants: leave it out")
    runs = [_run_variant(args, config, variant, terminal) for variant in variants]
    if len(runs) == 1:
        terminal.result(_summary(runs[0]), _describe(runs[0]))
    else:
        _compare_variants(runs, terminal)
    return 1 if any(one.manifest.counts.failed for one in runs) else 0


def _run_variant(args: argparse.Namespace, config: RunConfig, variant: str | None, terminal: Terminal) -> RunFolder:
    from phi3flow.connections import resolve_connection
    from phi3flow.flows import load_flow
    from phi3flow.run_config import parse_pairs
    from phi3flow.runner import RunOptions, run_flow

    flow = load_flow(args.flow, variant=variant)
    overrides = {f"{node}.{key}": name for node, keys in config.connections.items() for key, name in keys.items()}
    overrides.update(parse_pairs(args.connections, flag="--connections"))
    folder = Path("connections").resolve()
    with RunProgress(terminal) as progress:
        return run_flow(
            flow,
            data=args.data or (Path(config.data) if config.data else DEFAULT_DATA),
            column_mapping={**config.column_mapping, **parse_pairs(args.column_mapping, flag="--column-mapping")},
            connections=lambda name: resolve_connection(name, folder=folder).to_promptflow(),
            runs_dir=args.runs_dir,
            name=args.name or config.name,
            overrides=overrides,
            environment=config.environment_variables,
            options=RunOptions(concurrency=args.concurrency, timeout_s=args.timeout_s, max_retries=args.max_retries),
            limit=args.limit,
            fresh=args.fresh,
            on_start=progress.start,
            on_line=progress.advance,
        )


class RunProgress:
    """A run's progress line: lines done, failures, lines per second, time left."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        self._failed = 0
        self._progress = terminal.progress(
            "{task.description}",
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TextColumn("{task.fields[speed]:.0f} lines/s"),
            TimeRemainingColumn(),
        )

    def __enter__(self) -> RunProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, manifest: Manifest) -> None:
        """Show the run's name and how many lines were done before."""
        self._task = self._progress.add_task(
            manifest.name, total=manifest.counts.total, completed=manifest.counts.completed, failed=0, speed=0.0
        )

    def advance(self, result: LineResult) -> None:
        """Count one finished line."""
        self._failed += result.status == "Failed"
        task = next(task for task in self._progress.tasks if task.id == self._task)
        self._progress.update(self._task, advance=1, failed=self._failed, speed=task.speed or 0.0)


def _summary(run: RunFolder) -> dict[str, Any]:
    keep = {"name", "status", "flow", "variant", "data", "counts", "duration_s", "connections"}
    return run.manifest.model_dump(mode="json", include=keep)


def _describe(run: RunFolder) -> str:
    manifest = run.manifest
    counts = manifest.counts
    line = (
        f"{manifest.name}: {manifest.status}, {counts.completed} of {counts.total} lines completed, "
        f"{counts.failed} failed, {counts.retries} retries, {manifest.duration_s:.1f} s"
    )
    failed = next((result for result in run.results() if result.status == "Failed"), None) if counts.failed else None
    if failed is not None and failed.error is not None:
        line += f"\n  first failure: line {failed.line_number}: {failed.error.type}: {failed.error.message}"
    return line


def _compare_variants(runs: list[RunFolder], terminal: Terminal) -> None:
    """Score every run, and compare each with the first."""
    from rich.console import Group

    from phi3flow.cli.compare import render_comparison
    from phi3flow.cli.score import DEFAULT_FLOW, score_with_progress
    from phi3flow.comparison import compare_runs
    from phi3flow.flows import load_flow

    evaluation = load_flow(DEFAULT_FLOW)
    for one in runs:
        score_with_progress(one, evaluation, {}, terminal=terminal)
    comparisons = [compare_runs(runs[0], other) for other in runs[1:]]
    data = {
        "runs": [_summary(one) for one in runs],
        "comparisons": [comparison.model_dump(mode="json") for comparison in comparisons],
    }
    texts = [_describe(one) for one in runs]
    terminal.result(data, Group(*texts, *(render_comparison(comparison) for comparison in comparisons)))
