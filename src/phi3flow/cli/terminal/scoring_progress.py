"""How far a scoring is, and which lines it left without a score."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from phi3flow.records.scores import LineScore
    from phi3flow.runs.folder import RunFolder


@contextmanager
def scoring_progress(run: RunFolder, evaluation: str, terminal: Terminal) -> Iterator[Callable[[LineScore], None]]:
    """Show a bar over the run's completed lines, and give what takes each line's score."""
    with terminal.progress() as progress:
        task = progress.add_task(f"{run.name} by {evaluation}", total=run.manifest.counts.completed)
        yield lambda _: progress.advance(task)


def note_failures(run: RunFolder, evaluation: str, terminal: Terminal) -> int:
    """Say which lines of a run lack a score that they should have, and return how many."""
    scores = run.scores(evaluation)
    failed = [score for score in scores if score.status == "Failed"]
    if failed:
        terminal.note(
            f"{evaluation}: {len(failed)} of {len(scores)} lines have no score; the first: {_reason(failed[0])}"
        )
    without = [score for score in scores if score.failures]
    if without:
        name, reason = next(iter(without[0].failures.items()))
        terminal.note(
            f"{evaluation}: {len(without)} of {len(scores)} lines lack a score; the first: line "
            f"{without[0].line_number}: {name}: {reason}"
        )
    if missing := run.manifest.counts.total - len(scores):
        terminal.note(f"{run.name} is {run.manifest.status}: {missing} lines were not run yet, and are not scored")
    return len(failed) + len(without)


def _reason(score: LineScore) -> str:
    error = score.error
    return f"line {score.line_number}: {error.type}: {error.message}" if error else f"line {score.line_number}"
