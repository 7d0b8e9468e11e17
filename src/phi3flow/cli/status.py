"""Show the jobs, models and endpoints that were made from this folder, and which endpoints are alive.

An endpoint is running, starting, stopping (it finishes what is in flight), unresponsive, stopped, or crashed; then
the end of its log is shown. Azure is asked where something was made there, and tells of what phi3flow deployed in the
workspace from elsewhere, too; --backend local asks only this machine.

Examples:
  phi3flow status
  phi3flow status --json
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Group

    from phi3flow.project.state import EndpointStatus, ProjectState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("--backend", choices=("local", "azureml"), help="only this backend (default: all)")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.project import state

    endpoints: list[dict[str, Any]] = [
        status.model_dump(mode="json", exclude={"pid", "pid_created_at"}) for status in _ask(args.backend, state.load())
    ]
    shown = [*endpoints, *_made(state.load(), args.backend)]
    terminal.result(shown, _table(shown))
    return 0


def _ask(backend: str | None, made: ProjectState) -> list[EndpointStatus]:
    """Ask the backends that are meant, Azure only where something was made there."""
    from phi3flow.backends.local.endpoints import LocalBackend

    found = LocalBackend().status() if backend in (None, "local") else []
    in_azure = "azureml" in {job.backend for job in made.jobs} | {endpoint.backend for endpoint in made.endpoints}
    if backend == "azureml" or (backend is None and in_azure):
        from phi3flow.backends.azureml import AzureMLBackend

        found += AzureMLBackend().status()
    return found


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
