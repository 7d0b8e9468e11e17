"""List the runs of this project, show one, or delete some.

Examples:
  phi3flow runs list
  phi3flow runs list --output runs.parquet
  phi3flow runs show @latest
  phi3flow runs delete old-run --yes
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from phi3flow.cli.arguments import add_runs_dir, add_table_output
from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from phi3flow.runs.folder import RunFolder


def add_arguments(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Add the actions, and return their parsers: each takes the flags that all verbs have."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    parsers = [
        actions.add_parser("list", help="list all runs"),
        actions.add_parser("show", help="show manifests and metrics"),
        actions.add_parser("delete", help="delete runs"),
    ]
    for action in parsers:
        add_runs_dir(action)
    add_table_output(parsers[0], "a row for each run")
    for action in parsers[1:]:
        action.add_argument("runs", nargs="+", metavar="RUN", help="a name, a path, @latest or @previous")
    parsers[2].add_argument("--yes", action="store_true", help="delete without asking")
    return parsers


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.runs.folder import find_run, list_runs

    if args.action == "list":
        runs = list_runs(args.runs_dir)
        if args.output:
            from phi3flow.storage.tables import write_table

            write_table(args.output, [_row(run) for run in runs])
        _list(runs, terminal)
        return 0
    runs = [find_run(reference, args.runs_dir) for reference in args.runs]
    if args.action == "show":
        _show(runs, terminal)
        return 0
    names = ", ".join(run.name for run in runs)
    if not terminal.confirm(f"Delete {len(runs)} run(s): {names}?", yes=args.yes):
        return 1
    for run in runs:
        run.delete()
    terminal.result({"deleted": [run.name for run in runs]}, f"deleted {names}")
    return 0


def _list(runs: list[RunFolder], terminal: Terminal) -> None:
    from rich import box
    from rich.table import Table

    headers = ("run", "status", "lines", "failed", "variant", "started", "scored by")
    table = Table(*headers, box=box.SIMPLE_HEAD, pad_edge=False)
    data: list[dict[str, Any]] = []
    for run in runs:
        manifest = run.manifest
        evaluations = run.evaluations()
        data.append({**manifest.model_dump(mode="json"), "name": run.name, "evaluations": evaluations})
        table.add_row(
            run.name,
            manifest.status,
            f"{manifest.counts.completed}/{manifest.counts.total}",
            str(manifest.counts.failed),
            manifest.variant or "",
            f"{manifest.started_at:%Y-%m-%d %H:%M}",
            ", ".join(evaluations),
        )
    terminal.result(data, table)


def _row(run: RunFolder) -> dict[str, Any]:
    """Return a run as one row: what it was, how it went, and each metric with its interval."""
    manifest = run.manifest
    names = ("name", "status", "flow", "flow_fingerprint", "variant", "data", "started_at", "ended_at", "duration_s")
    row = {name: getattr(manifest, name) for name in names} | manifest.counts.model_dump()
    for evaluation in run.evaluations():
        for name, estimate in run.metrics(evaluation).metrics.items():
            bounds = {"": estimate.mean, ".low": estimate.low, ".high": estimate.high, ".n": estimate.n}
            row |= {f"{evaluation}.{name}{ending}": value for ending, value in bounds.items()}
    return row


def _show(runs: list[RunFolder], terminal: Terminal) -> None:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    data, blocks = [], []
    for run in runs:
        run.results()  # what is shown must be what the run left
        manifest = run.manifest.model_dump(mode="json")
        metrics = {name: run.metrics(name).model_dump(mode="json")["metrics"] for name in run.evaluations()}
        data.append({**manifest, "metrics": metrics})
        table = Table(title=run.name, show_header=False, title_justify="left", box=box.SIMPLE, pad_edge=False)
        for key, value in manifest.items():
            table.add_row(key, str(value))
        for evaluation, estimates in metrics.items():
            for name, estimate in estimates.items():
                table.add_row(f"{evaluation}.{name}", _interval(estimate))
        blocks.append(table)
    terminal.result(data[0] if len(data) == 1 else data, Group(*blocks))


def _interval(estimate: dict[str, Any]) -> str:
    if estimate["mean"] is None:
        return "none"
    text = f"{estimate['mean']:.4f}"
    return text if estimate["low"] is None else f"{text} [{estimate['low']:.4f}, {estimate['high']:.4f}]"
