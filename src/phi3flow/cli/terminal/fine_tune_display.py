"""What is seen of a fine-tune that is followed: its steps, or its job, as the backend reports it."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property

from phi3flow.backends.backend import Progress
from phi3flow.cli.terminal.job_line import JobLine
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.cli.terminal.training_bar import TrainingBar
from phi3flow.training.progress import TrainingProgress


class FineTuneDisplay:
    """A bar where a training reports its steps, a line where a service reports its job; nothing before a report."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._shown = ExitStack()

    def __enter__(self) -> FineTuneDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.close()

    def show(self, progress: Progress) -> None:
        """Show one report."""
        if isinstance(progress, TrainingProgress):
            self._bar.show(progress)
        else:
            self._line.show(progress)

    @cached_property
    def _bar(self) -> TrainingBar:
        return self._shown.enter_context(TrainingBar(self._terminal))

    @cached_property
    def _line(self) -> JobLine:
        return self._shown.enter_context(JobLine(self._terminal))
