"""Show the jobs, models and endpoints that were made from this folder, and which endpoints are alive.

An endpoint is running, starting, stopping (it finishes what is in flight), unresponsive, stopped, or crashed; then
the end of its log is shown. Azure is asked where something was made there, and tells of what phi3flow deployed in the
workspace from elsewhere, too, and what each deployment costs a day; --backend local asks only this machine.

Examples:
  phi3flow status
  phi3flow status --json
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from phi3flow.backends.choice import BACKENDS
from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import Group

    from phi3flow.project.state import ProjectState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("--backend", choices=tuple(BACKENDS), help="only this backend (default: all)")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb: each backend is asked that is meant, else each that something was made with."""
    from phi3flow.backends.choice import open_backend
    from phi3flow.project import state

    used = state.load().backends
    names = [args.backend] if args.backend else [name for name in BACKENDS if name in used]
    endpoints: list[dict[str, Any]] = [
        status.model_dump(mode="json", exclude={"pid", "pid_created_at"})
        for name in names
        for status in open_backend(name).status()
    ]
    rows = [*endpoints, *_list_noted(state.load(), args.backend)]
    terminal.result(rows, _table(rows))
    return 0


def _list_noted(noted: ProjectState, backend: str | None) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = [
        {"backend": job.backend, "job": job.name, "status": job.status, "output": job.output, "state": job.status}
        for job in noted.jobs
    ]
    models: list[dict[str, Any]] = [
        {
            "backend": model.backend,
            "model": model.name,
            "version": model.version,
            "source": model.source,
            "state": "registered",
        }
        for model in noted.models
    ]
    return [row for row in (*jobs, *models) if backend in (None, row["backend"])]


def _table(rows: list[dict[str, Any]]) -> Group | str:
    if not rows:
        return "nothing was made from here yet; --backend azureml asks Azure what was made there from elsewhere"
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table("what", "name", "state", "backend", box=box.SIMPLE_HEAD, pad_edge=False)
    places = []
    for row in rows:
        kind = next(key for key in ("endpoint", "job", "model") if key in row)
        table.add_row(kind, Text(row[kind], overflow="fold"), row["state"], row["backend"])
        where = row.get("url") or row.get("output") or row.get("source")
        places += [f"{row[kind]}: {where}"] if where else []
    details = [f"{row['endpoint']}: {row['detail']}" for row in rows if row.get("detail")]
    return Group(table, *map(Text, (*places, "", *details, *_costs(rows))))


def _costs(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Say what each rented endpoint costs a day, and all together."""
    from phi3flow.text import money

    rented = [row for row in rows if row.get("size")]
    for row in rented:
        price = row["dollars_per_day"]
        dollars = "at an unknown price" if price is None else f"{money(price)} dollars a day"
        yield f"{row['endpoint']}, deployment {row['deployment']}: {row['instances']} x {row['size']}, {dollars}"
    known = [row["dollars_per_day"] for row in rented if row["dollars_per_day"] is not None]
    if len(known) > 1:
        yield f"together {money(sum(known))} dollars a day; `phi3flow undeploy` ends an endpoint's"
