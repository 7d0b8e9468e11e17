"""The progress line of a batch run."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from phi3flow.records.runs import Manifest
    from phi3flow.runner import RunProgress

_PLAIN_EVERY_S = 30.0


class ProgressLine:
    """What is done, how fast it goes, what is in flight, how long it will take: a plain line now and then in a log."""

    def __init__(self, terminal: Terminal) -> None:
        self._plain = not terminal.quiet
        self._written_s = time.monotonic()
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

        self._progress = terminal.progress(
            "{task.description}", BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("{task.fields[state]}")
        )

    def __enter__(self) -> ProgressLine:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, manifest: Manifest) -> None:
        """Show the run's name and how many lines were done before."""
        counts = manifest.counts
        self._name = manifest.name
        self._task = self._progress.add_task(manifest.name, total=counts.total, completed=counts.completed, state="")

    def update(self, progress: RunProgress) -> None:
        """Show where the run stands."""
        ended = progress.completed + progress.failed
        self._progress.update(self._task, completed=ended, total=progress.total, state=_state(progress))
        if self._plain and self._progress.disable and time.monotonic() - self._written_s >= _PLAIN_EVERY_S:
            self._written_s = time.monotonic()
            sys.stderr.write(f"{self._name}: {ended} of {progress.total} lines | {_state(progress)}\n")


def _state(progress: RunProgress) -> str:
    if progress.waits_for:
        return f"waits for {progress.waits_for}"
    words = [f"{progress.lines_per_s:.0f} lines/s", f"{progress.in_flight} of {progress.limit} in flight"]
    if progress.p50_ms is not None and progress.p95_ms is not None:
        words.append(f"p50 {progress.p50_ms:.0f} ms, p95 {progress.p95_ms:.0f} ms")
    words.append(f"{progress.retries} retries, {progress.failed} failed")
    if progress.left_s is not None:
        minutes, seconds = divmod(round(progress.left_s), 60)
        words.append(f"{minutes}:{seconds:02} left")
    return " | ".join(words)
