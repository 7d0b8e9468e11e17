"""The progress line of a scoring, and what is said of lines that have no score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from phi3flow.records.scores import LineScore
    from phi3flow.runs.folder import RunFolder


class ScoringLine:
    """How many of a run's lines an evaluation flow has scored."""

    def __init__(self, terminal: Terminal, run: RunFolder, evaluation: str) -> None:
        self._progress = terminal.progress()
        total = run.manifest.counts.completed
        self._task = self._progress.add_task(f"{run.name} by {evaluation}", total=total)

    def __enter__(self) -> ScoringLine:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, score: LineScore) -> None:
        """Count a line."""
        self._progress.advance(self._task)


def note_failures(run: RunFolder, evaluation: str, terminal: Terminal) -> int:
    """Say which lines an evaluation flow could not score; return how many lack a score that they should have."""
    scores = run.scores(evaluation)
    reading = "count as the worst score" if run.metrics(evaluation).failed_lines == "least" else "are left out"
    failed = [score for score in scores if not score.answered]
    if failed:
        terminal.note(
            f"{evaluation}: {len(failed)} of {len(scores)} lines failed in the run and {reading}; the first: "
            f"{_reason(failed[0])}"
        )
    unscored = [score for score in scores if score.answered and score.status == "Failed"]
    if unscored:
        terminal.note(
            f"{evaluation}: {len(unscored)} of {len(scores)} lines have no score; the first: {_reason(unscored[0])}"
        )
    without = [score for score in scores if score.status == "Completed" and score.failures]
    if without:
        name, reason = next(iter(without[0].failures.items()))
        terminal.note(
            f"{evaluation}: {len(without)} of {len(scores)} lines lack a score; the first: line "
            f"{without[0].line_number}: {name}: {reason}"
        )
    if missing := run.manifest.counts.total - len(scores):
        terminal.note(f"{run.name} is {run.manifest.status}: {missing} lines were not run yet, and are not scored")
    return len(failed) + len(unscored) + len(without)


def _reason(score: LineScore) -> str:
    error = score.error
    return f"line {score.line_number}: {error.type}: {error.message}" if error else f"line {score.line_number}"
