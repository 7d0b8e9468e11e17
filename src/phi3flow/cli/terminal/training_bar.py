"""The bar of a training on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import TaskID

    from phi3flow.training.progress import TrainingProgress


class TrainingBar:
    """A bar with loss, learning rate and time left on a terminal; elsewhere a plain line for each validation."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn

        self._terminal = terminal
        self._bar = terminal.progress(
            "{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[numbers]}", "{task.fields[left]}"
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> TrainingBar:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def show(self, progress: TrainingProgress) -> None:
        """Show one report."""
        if self._bar.disable:
            if progress.validation_loss is not None:
                self._terminal.note(
                    f"{progress.phase}: step {progress.step} of {progress.total_steps}, "
                    f"validation loss {progress.validation_loss:.4f}, {_left(progress)}"
                )
            return
        if progress.phase not in self._tasks:
            self._tasks[progress.phase] = self._bar.add_task(
                progress.phase, total=progress.total_steps, numbers="", left=""
            )
        task = self._tasks[progress.phase]
        self._bar.update(task, completed=progress.step, left=_left(progress))
        if progress.loss is not None and progress.learning_rate is not None:
            self._bar.update(task, numbers=f"loss {progress.loss:.3f}  learning rate {progress.learning_rate:.1e}")


def _left(progress: TrainingProgress) -> str:
    return "" if progress.remaining_s is None else f"{progress.remaining_s:.0f} s left"
