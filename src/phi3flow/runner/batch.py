"""One opening of a run: which line is tried when, by which worker, and what is kept of it."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Literal

from phi3flow.errors import FlowError
from phi3flow.pacing.endpoint_health import EndpointHealth, Fault, backoff_s
from phi3flow.pacing.pacer import Pacer
from phi3flow.pacing.start import Start
from phi3flow.records.lines import Usage
from phi3flow.runner.cache import AnswerCache
from phi3flow.runner.conversations import LineSource
from phi3flow.runner.options import RunOptions
from phi3flow.runner.progress import RunProgress, Speed
from phi3flow.runs.writer import RunWriter
from phi3flow.workers.attempt import unanswered
from phi3flow.workers.crew import Crew, Worker
from phi3flow.workers.messages import Attempt, Ended
from phi3flow.workers.process import Death

_DRAIN_S = 10.0
_PROGRESS_EVERY_S = 0.2
_MOST_TO_RETRY = 1000
_MOST_DEATHS = 5
_STUCK_AFTER_TIMEOUT_S = 10.0

Stop = Literal["Canceled", "Failed", "Completed"]


class Batch:
    """Sends lines to workers as fast as the endpoint takes them, and appends what becomes of each."""

    def __init__(
        self,
        writer: RunWriter,
        crew: Crew,
        options: RunOptions,
        pacer: Pacer,
        cache: AnswerCache | None,
        on_progress: Callable[[RunProgress], None],
        on_kept: Sequence[Callable[[int, bytes | None], None]] = (),
    ) -> None:
        self.stopped_as: Stop | None = None
        self._writer = writer
        self._crew = crew
        self._workers = list(crew.workers)
        self._options = options
        self._cache = cache
        self._pacer = pacer
        self._on_progress = on_progress
        self._on_kept = on_kept
        self._health = EndpointHealth(pacer, options.limits, writer.counts.total)
        self._exhausted = False
        self._speed = Speed()
        self._again: list[tuple[float, int, Attempt]] = []
        self._order = itertools.count()
        self._suspects: deque[Attempt] = deque()
        self._deaths_in_a_row = 0
        self._changed = asyncio.Event()
        self._error: Exception | None = None
        self._failures = 0

    async def run(self, lines: LineSource) -> None:
        """Run ``lines`` until all are done or the run is stopped; what is in flight then has 10 s to end.

        Raises StorageError where the disk refuses a result, EndpointError where the endpoint stays down, FlowError
        where one worker after the other dies.
        """
        tasks = [asyncio.create_task(self._listen(worker)) for worker in self._workers]
        tasks.append(asyncio.create_task(self._report()))
        try:
            await self._dispatch(lines)
            if self.stopped_as:
                await self._drain()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._on_progress(self._progress())
        if self._error:
            raise self._error

    def stop(self, status: Stop) -> None:
        """Start no more lines; the run will have this status."""
        self.stopped_as = self.stopped_as or status
        self._changed.set()

    def fail(self, error: Exception) -> None:
        """Let ``run`` raise this, with all that was done kept."""
        self._error = self._error or error
        self._changed.set()

    @property
    def _in_flight(self) -> int:
        return sum(len(worker.in_flight) for worker in self._workers)

    async def _dispatch(self, lines: LineSource) -> None:
        waiting: Attempt | None = None
        while not self.stopped_as and self._error is None:
            now = time.monotonic()
            waiting = waiting or self._due(now)
            if waiting is None and len(self._again) < _MOST_TO_RETRY:
                waiting = await self._new(lines)
            if self._suspects and self._workers and not self._in_flight:
                self._start(now, self._suspects.popleft())
            if waiting is None and not self._again and not self._suspects and not self._in_flight:
                return
            wait_s = self._wait_s(now, waiting)
            if waiting and wait_s == 0.0:
                self._start(now, waiting)
                waiting = None
            else:
                await self._change(wait_s)

    async def _new(self, lines: LineSource) -> Attempt | None:
        """Return the next line that the cache does not answer."""
        while (line := lines.take()) is not None:
            attempt = Attempt(line.number, line.row, line.line_id, 1, line.history)
            if line.refused is not None:
                refused = replace(attempt, attempts=0)
                self._keep(refused, completed=False, result=unanswered(refused, "EarlierTurnFailed", line.refused))
                continue
            found = self._cache.find(line) if self._cache else None
            if found is None:
                self._exhausted = lines.is_exhausted
                return attempt
            result = found.model_dump_json().encode()
            self._writer.append(line.number, result, completed=True, attempts=0, usage=found.usage)
            for tell in self._on_kept:
                tell(line.number, result)
            self._speed.line()
            await asyncio.sleep(0)
        self._exhausted = lines.is_exhausted
        return None

    def _start(self, now: float, attempt: Attempt) -> None:
        start = self._pacer.start(now)
        min(self._workers, key=lambda worker: len(worker.in_flight)).submit(attempt, start)

    def _due(self, now: float) -> Attempt | None:
        return heapq.heappop(self._again)[2] if self._again and self._again[0][0] <= now else None

    def _wait_s(self, now: float, waiting: Attempt | None) -> float | None:
        """Return the seconds until something may be done, None where only an attempt's end can change that."""
        if waiting is None:
            return self._again[0][0] - now if self._again else None
        if self._suspects or not self._workers or (self._health.is_down and self._in_flight):
            return None
        return self._pacer.wait_s(now)

    async def _change(self, within_s: float | None) -> None:
        timer = asyncio.get_running_loop().call_later(within_s, self._changed.set) if within_s is not None else None
        await self._changed.wait()
        self._changed.clear()
        if timer:
            timer.cancel()

    async def _drain(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while self._in_flight and self._error is None:
                    await self._change(None)

    async def _listen(self, worker: Worker) -> None:
        """Hear a worker, and those that come after it, for as long as the run lasts."""
        try:
            while True:
                death = await worker.listen(self._pacer.send, self._ended)
                self._workers.remove(worker)
                self._take_back(worker, death)
                worker = await self._crew.replacement()
                self._workers.append(worker)
                self._changed.set()
        except Exception as error:
            self.fail(error)

    def _take_back(self, worker: Worker, death: Death) -> None:
        """Find out which line a worker died of: the one that was alone with it; several are tried again, one by one.

        A machine that is gone died of none of them: they have a retry. Raises FlowError after some deaths without a
        line completed.
        """
        now, lost = time.monotonic(), list(worker.in_flight.values())
        message = f"the flow's process ended ({death.how}) while it executed this line"
        for attempt in lost:
            self._pacer.fail(worker.starts[attempt.number])
            if death.machine_lost and self._health.has_retry(attempt.attempts):
                self._retry_at(now, attempt)
            elif death.machine_lost or len(lost) == 1:
                self._keep(attempt, completed=False, result=unanswered(attempt, "WorkerDied", message))
            else:
                self._suspects.append(attempt)
        self._deaths_in_a_row += not death.machine_lost
        if self._deaths_in_a_row == _MOST_DEATHS:
            raise FlowError(
                f"the flow's process died {_MOST_DEATHS} times ({death.how}) and completed no line in between; what "
                "was done is kept"
            )

    def _ended(self, attempt: Attempt, ended: Ended, start: Start) -> None:
        now = time.monotonic()
        self._speed.attempt(ended.latency_s)
        if ended.completed:
            tokens = ended.usage.prompt_tokens + ended.usage.completion_tokens if ended.usage else 0
            self._health.succeed(now, start, tokens=tokens)
            self._deaths_in_a_row = 0
        elif self._is_tried_again(now, attempt, ended, start):
            return
        self._keep(attempt, completed=ended.completed, result=ended.result, usage=ended.usage)

    def _is_tried_again(self, now: float, attempt: Attempt, ended: Ended, start: Start) -> bool:
        fault = Fault(ended.message, ended.status_code, ended.retryable, ended.timed_out, ended.retry_after_s)
        down = self._health.fail(now, start, fault, is_last=self._exhausted)
        if self._health.error:
            self.fail(self._health.error)
        if down:
            self._again_at(now, attempt)
        elif ended.retryable and self._health.has_retry(attempt.attempts):
            self._retry_at(now + backoff_s(fault, attempt.attempts), attempt)
        else:
            return False
        return True

    def _retry_at(self, when: float, attempt: Attempt) -> None:
        self._health.retry()
        self._again_at(when, replace(attempt, attempts=attempt.attempts + 1))

    def _again_at(self, when: float, attempt: Attempt) -> None:
        heapq.heappush(self._again, (when, next(self._order), attempt))
        self._changed.set()

    def _keep(self, attempt: Attempt, *, completed: bool, result: bytes, usage: Usage | None = None) -> None:
        try:
            self._writer.append(attempt.number, result, completed=completed, attempts=attempt.attempts, usage=usage)
            if completed and self._cache:
                self._cache.keep(attempt, result)
            for tell in self._on_kept:
                tell(attempt.number, result if completed else None)
        except Exception as error:
            self.fail(error)
        self._speed.line()
        if not completed:
            self._failures += 1
            self._stop_at_too_many_failures()
        self._changed.set()

    def _stop_at_too_many_failures(self) -> None:
        fail_fast, percent = self._options.fail_fast, self._options.max_failures_percent
        if fail_fast is not None and self._failures >= fail_fast:
            self.stop("Failed")
        if percent is not None and self._failures > self._writer.counts.total * percent / 100:
            self.stop("Failed")

    async def _report(self) -> None:
        while True:
            self._on_progress(self._progress())
            for worker in self._workers:
                worker.kill_if_stuck(self._options.limits.timeout_s + _STUCK_AFTER_TIMEOUT_S)
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
            in_flight=self._in_flight,
            limit=self._pacer.limit,
            lines_per_s=lines_per_s,
            p50_ms=self._speed.latency_ms(0.5),
            p95_ms=self._speed.latency_ms(0.95),
            left_s=left / lines_per_s if lines_per_s else None,
            waits_for=self._waits_for(),
        )

    def _waits_for(self) -> str | None:
        if self._health.is_down:
            return "the endpoint, which gives no answer"
        paused_s = self._pacer.paused_s(time.monotonic())
        return f"the endpoint, which asks for {paused_s:.0f} s" if paused_s > 1.0 else None
