"""Show the jobs, models and endpoints that were made from this folder, and which endpoints are alive.

An endpoint is running, stopping (it finishes what is in flight), unresponsive, stopped, or crashed; then the end of
its log is shown.

Examples:
  phi3flow status
  phi3flow status --json
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from phi3flow.cli.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Group

    from phi3flow.state import ProjectState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("--backend", choices=("local",), help="only this backend (default: all)")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow import state
    from phi3flow.backends.local import LocalBackend

    endpoints: list[dict[str, Any]] = [
        status.model_dump(mode="json", exclude={"pid", "pid_created_at"}) for status in LocalBackend().status()
    ]
    shown = [*endpoints, *_made(state.load(), args.backend)]
    terminal.result(shown, _table(shown))
    return 0


def _made(made: ProjectState, backend: str | None) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = [
        {"backend": job.backend, "job": job.name, "status": job.status, "output": job.output, "state": job.status}
        for job in made.jobs
    ]
    models: list[dict[str, Any]] = [
        {
            "backend": each.backend,
            "model": each.name,
            "version": each.version,
            "source": each.source,
            "state": "registered",
        }
        for each in made.models
    ]
    return [each for each in (*jobs, *models) if backend in (None, each["backend"])]


def _table(shown: list[dict[str, Any]]) -> Group | str:
    if not shown:
        return "nothing was made from here yet"
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("what", "name", "state", "where", "backend", box=box.SIMPLE_HEAD, pad_edge=False)
    for each in shown:
        kind = next(key for key in ("endpoint", "job", "model") if key in each)
        where = each.get("url") or each.get("output") or each.get("source") or ""
        table.add_row(kind, Text(each[kind]), each["state"], Text(where), each["backend"])
    details = [Text(f"{each['endpoint']}: {each['detail']}") for each in shown if each.get("detail")]
    return Group(table, *details)
