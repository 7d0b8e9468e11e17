"""The line of a job in the cloud that is followed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.text import duration

if TYPE_CHECKING:
    from rich.progress import TaskID

    from phi3flow.azure.workspace.jobs import JobProgress


SAID_FROM_S = 30.0
"""A state that comes so late is told with the time that it took."""


class JobLine:
    """State, time and metrics on a terminal; elsewhere a line whenever the state changes."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.progress import SpinnerColumn, TimeElapsedColumn

        self._terminal = terminal
        self._line = terminal.progress(SpinnerColumn(), "{task.description}", TimeElapsedColumn())
        self._task: TaskID = self._line.add_task("asking Azure", total=None)
        self._seen: dict[str, str] = {}
        self._begun_s = time.monotonic()

    def __enter__(self) -> JobLine:
        self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._line.stop()

    def show(self, progress: JobProgress) -> None:
        """Show where a job stands, what is new of it, and once where a browser shows it."""
        for event in progress.news:
            self._terminal.note(f"{progress.name}: {event}")
        metrics = "".join(f"  {name} {value:.4g}" for name, value in sorted(progress.metrics.items()))
        state = f"{progress.name}: {progress.status}{metrics}"
        self._line.update(self._task, description=state)
        if self._line.disable and progress.status != self._seen.get(progress.name):
            passed_s = time.monotonic() - self._begun_s
            self._terminal.note(f"{state}, after {duration(passed_s)}" if passed_s >= SAID_FROM_S else state)
        if progress.name not in self._seen and progress.page:
            self._terminal.note(f"in the browser: {progress.page}")
        self._seen[progress.name] = progress.status
