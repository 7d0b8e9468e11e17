"""The progress line of a scoring, and what is said of lines that have no score."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.text import plural

if TYPE_CHECKING:
    from phi3flow.records.scores import LineScore, RunMetrics
    from phi3flow.runs.folder import RunFolder
    from phi3flow.scoring import KeptLines


class ScoringLine:
    """How many of a run's lines an evaluation flow has scored."""

    def __init__(self, terminal: Terminal, run: RunFolder, evaluation: str) -> None:
        self._terminal = terminal
        self._evaluation = evaluation
        self._progress = terminal.progress()
        total = run.manifest.counts.completed
        self._task = self._progress.add_task(f"{run.name} by {evaluation}", total=total)

    def __enter__(self) -> ScoringLine:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, kept: KeptLines) -> None:
        """Say how many lines were scored before, or why none of those that were is kept."""
        if kept.lines:
            self._terminal.note(
                f"{self._evaluation}: {kept.lines:,} of {plural(kept.total, 'line')} were scored before and are kept"
            )
        elif kept.changes:
            self._terminal.note(f"{self._evaluation}: scored before with another setting ({kept.changes}): starts over")

    def advance(self, score: LineScore) -> None:
        """Count a line."""
        self._progress.advance(self._task)


def note_failures(run: RunFolder, evaluation: str, terminal: Terminal) -> int:
    """Say what an evaluation flow could not score; return how much lacks a score that it should have."""
    scores, metrics = run.scores(evaluation), run.metrics(evaluation)
    reading = "count as the worst score" if metrics.failed_lines == "least" else "are left out"
    failed = [score for score in scores if not score.answered]
    if failed:
        terminal.note(
            f"{evaluation}: {len(failed)} of {len(scores)} lines failed in the run and {reading}; the first: "
            f"{_reason(failed[0])}"
        )
    unscored = [score for score in scores if score.answered and score.status == "Failed"]
    if unscored:
        traceback = run.tracebacks(evaluation).get(unscored[0].line_number)
        place = f" ({traceback.place}; the traceback is in {run.name}/scores/{evaluation})" if traceback else ""
        reason = f"{_reason(unscored[0])}{place}"
        terminal.note(f"{evaluation}: {len(unscored)} of {len(scores)} lines have no score; the first: {reason}")
    without = [score for score in scores if score.status == "Completed" and score.failures]
    if without:
        name, reason = next(iter(without[0].failures.items()))
        terminal.note(
            f"{evaluation}: {len(without)} of {len(scores)} lines lack a score; the first: line "
            f"{without[0].line_number}: {name}: {reason}"
        )
    if missing := run.manifest.counts.total - len(scores):
        terminal.note(f"{run.name} is {run.manifest.status}: {missing} lines were not run yet, and are not scored")
    unsound = _note_metrics(evaluation, metrics, len(scores) - len(failed) - len(unscored), terminal)
    return len(failed) + len(unscored) + len(without) + unsound


def _note_metrics(evaluation: str, metrics: RunMetrics, completed: int, terminal: Terminal) -> int:
    """Say what is wrong with the evaluation flow itself; return how much."""
    if error := metrics.aggregation_error:
        terminal.note(
            f"{evaluation}: its aggregation failed: {error.type}: {error.message}; the lines' scores are kept: mend it "
            "and give the same command again"
        )
        return 1
    if completed and not (metrics.metrics or metrics.texts or metrics.absent):
        terminal.note(
            f"{evaluation}: scores nothing: none of its outputs is a number or a truth value, and it logs no metric"
        )
        return 1
    return 0


def _reason(score: LineScore) -> str:
    error = score.error
    return f"line {score.line_number}: {error.type}: {error.message}" if error else f"line {score.line_number}"
