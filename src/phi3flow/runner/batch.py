"""One opening of a run: lines are attempted, and what becomes of each is on disk before the next takes its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from phi3flow.pacing.pace import Pace
from phi3flow.runner.cache import AnswerCache
from phi3flow.runner.conversations import LineSource
from phi3flow.runner.options import RunOptions
from phi3flow.runner.progress import RunProgress, Speed
from phi3flow.runs.writer import RunWriter
from phi3flow.workers.attempt import unanswered
from phi3flow.workers.crew import Crew
from phi3flow.workers.crew_attempts import CrewAttempts
from phi3flow.workers.messages import Attempt, Ended

_PROGRESS_EVERY_S = 0.2

Stop = Literal["Canceled", "Failed", "Completed"]


class Batch:
    """Has lines attempted as fast as the endpoint takes them, and appends what becomes of each.

    ``on_kept`` hear of each line that is kept: its record of results.jsonl, None where it failed.
    """

    def __init__(
        self,
        lines: LineSource,
        writer: RunWriter,
        crew: Crew,
        options: RunOptions,
        pace: Pace,
        *,
        cache: AnswerCache | None = None,
        on_progress: Callable[[RunProgress], None],
        on_kept: Sequence[Callable[[int, bytes | None], None]] = (),
    ) -> None:
        self.stopped_as: Stop | None = None
        self._lines = lines
        self._writer = writer
        self._options = options
        self._cache = cache
        self._on_progress = on_progress
        self._on_kept = [lines.keep, *on_kept]
        self._speed = Speed()
        self._failures = 0
        total = writer.counts.total
        self._attempts = CrewAttempts(crew, pace, options.limits, total, self._keep, self._speed.attempt)

    async def run(self) -> None:
        """Run the lines until all are done or the run is stopped; what is in flight then has 10 s to end.

        Raises StorageError where the disk refuses a result, EndpointError where the endpoint stays down, FlowError
        where one worker after the other dies.
        """
        reports = asyncio.create_task(self._report())
        try:
            await self._attempts.run(self)
        finally:
            reports.cancel()
            await asyncio.gather(reports, return_exceptions=True)
            self._on_progress(self._progress())

    def stop(self, status: Stop) -> None:
        """Start no more lines; the run will have this status."""
        self.stopped_as = self.stopped_as or status
        self._attempts.stop()

    def fail(self, error: Exception) -> None:
        """Let ``run`` raise this, with all that was done kept."""
        self._attempts.give_up(error)

    @property
    def is_exhausted(self) -> bool:
        """See Source."""
        return self._lines.is_exhausted

    async def take(self) -> Attempt | None:
        """See Source: the next line that the cache does not answer."""
        while (line := self._lines.take()) is not None:
            attempt = Attempt(line.number, line.row, line.line_id, history=line.history)
            if line.refused is not None:
                not_sent = replace(attempt, attempts=0)
                self._keep(not_sent, unanswered(not_sent, "EarlierTurnFailed", line.refused))
                continue
            answer = self._cache.find(line) if self._cache else None
            if answer is None:
                return attempt
            result = answer.result.model_dump_json().encode()
            self._writer.append(
                line.number,
                result,
                completed=True,
                attempts=0,
                usage=answer.result.usage,
                aggregation_inputs=answer.aggregation_inputs,
            )
            self._tell(line.number, result)
            self._speed.line()
            await asyncio.sleep(0)
        return None

    def _keep(self, attempt: Attempt, ended: Ended) -> None:
        completed = ended.failure is None
        self._speed.line()
        self._failures += not completed
        for path, content in ended.images:
            self._writer.keep_file(path, content)
        self._writer.append(
            attempt.number,
            ended.result,
            completed=completed,
            attempts=attempt.attempts,
            usage=ended.usage,
            aggregation_inputs=ended.aggregation_inputs,
            beside=ended.beside,
        )
        if completed and self._cache and not ended.images:  # which lie in this run's folder
            self._cache.keep(attempt, ended.result, ended.aggregation_inputs)
        self._tell(attempt.number, ended.result if completed else None)
        if not completed:
            self._stop_at_too_many_failures()

    def _tell(self, number: int, result: bytes | None) -> None:
        for on_kept in self._on_kept:
            on_kept(number, result)

    def _stop_at_too_many_failures(self) -> None:
        fail_fast, percent = self._options.fail_fast, self._options.max_failures_percent
        if fail_fast is not None and self._failures >= fail_fast:
            self.stop("Failed")
        if percent is not None and self._failures > self._writer.counts.total * percent / 100:
            self.stop("Failed")

    async def _report(self) -> None:
        while True:
            self._on_progress(self._progress())
            await asyncio.sleep(_PROGRESS_EVERY_S)

    def _progress(self) -> RunProgress:
        counts = self._writer.counts
        lines_per_s = self._speed.lines_per_s()
        left = counts.total - counts.completed - self._failures
        return RunProgress(
            total=counts.total,
            completed=counts.completed,
            failed=self._failures,
            retries=counts.retries,
            in_flight=self._attempts.in_flight,
            limit=self._attempts.limit,
            lines_per_s=lines_per_s,
            p50_ms=self._speed.latency_ms(0.5),
            p95_ms=self._speed.latency_ms(0.95),
            left_s=left / lines_per_s if lines_per_s else None,
            waits_for=self._attempts.waits_for,
        )
