"""Attempts that a crew makes, as one dispatcher lets them start; what a process that dies takes with it is not lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from phi3flow.errors import FlowError
from phi3flow.pacing.dispatcher import Dispatcher, Source
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.pace import Pace
from phi3flow.pacing.start import Start
from phi3flow.workers.attempt import unanswered
from phi3flow.workers.crew import Crew, Worker
from phi3flow.workers.messages import Attempt, Ended
from phi3flow.workers.process import Death
from phi3flow.workers.usage import total_tokens

_DRAIN_S = 10.0
_MOST_DEATHS = 5
_STUCK_AFTER_TIMEOUT_S = 10.0
_LOOK_EVERY_S = 0.2
_STUCK = "no answer within {:g} s, and no end within {:g} s more: the flow held up its process, which was ended"


class CrewAttempts:
    """Makes the attempts of a source with a crew; ``on_end`` hears of each line once, how its last attempt ended.

    ``on_attempt`` hears how many seconds each attempt took.
    """

    def __init__(
        self,
        crew: Crew,
        pace: Pace,
        limits: Limits,
        items: int,
        on_end: Callable[[Attempt, Ended], None],
        on_attempt: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._crew = crew
        self._pace = pace
        self._limits = limits
        self._on_end = on_end
        self._on_attempt = on_attempt
        self._dispatcher = Dispatcher[Attempt](pace, limits, items)
        self._workers = list(crew.workers)
        self._deaths_in_a_row = 0

    async def run(self, source: Source[Attempt]) -> None:
        """Make attempts until none is left, or until it is stopped; what is in flight then has 10 s to end.

        Raises EndpointError where the endpoint stays down, FlowError where one worker after the other dies, what
        ``source`` and ``on_end`` raise, and what ``give_up`` was told.
        """
        tasks = [asyncio.create_task(self._listen(worker)) for worker in self._workers]
        tasks.append(asyncio.create_task(self._watch()))
        try:
            await self._dispatcher.run(source, self)
            await self._dispatcher.drain(_DRAIN_S)
        except Exception:  # the source's own, after which what is in flight is answered nevertheless
            await self._dispatcher.drain(_DRAIN_S)
            raise
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def stop(self) -> None:
        """Start no more attempts."""
        self._dispatcher.stop()

    def give_up(self, error: Exception) -> None:
        """Let ``run`` raise this."""
        self._dispatcher.give_up(error)

    def wake(self) -> None:
        """Look again at what the source gives."""
        self._dispatcher.wake()

    @property
    def in_flight(self) -> int:
        """The attempts that have not ended."""
        return self._pace.in_flight

    @property
    def limit(self) -> int:
        """The most attempts that may be in flight now."""
        return self._pace.limit

    @property
    def waits_for(self) -> str | None:
        """What a person should know where nothing starts."""
        return self._dispatcher.waits_for

    @property
    def is_ready(self) -> bool:
        """See Sender."""
        return bool(self._workers)

    def send(self, attempt: Attempt, start: Start) -> None:
        """See Sender: the worker with the least to do gets it."""
        min(self._workers, key=lambda worker: len(worker.in_flight)).submit(attempt, start)

    async def _listen(self, worker: Worker) -> None:
        """Hear a worker, and those that come after it, for as long as there is something to do."""
        try:
            while True:
                death = await worker.listen(self._dispatcher.sent, self._ended)
                self._workers.remove(worker)
                self._take_back(worker, death)
                worker = await self._crew.replacement()
                self._workers.append(worker)
                self._dispatcher.wake()
        except Exception as error:
            self.give_up(error)

    async def _watch(self) -> None:
        """End processes whose attempts take longer than they may: their own time-out did not come."""
        while True:
            for worker in self._workers:
                worker.kill_if_stuck(self._limits.timeout_s + _STUCK_AFTER_TIMEOUT_S)
            await asyncio.sleep(_LOOK_EVERY_S)

    def _ended(self, attempt: Attempt, ended: Ended, start: Start) -> None:
        self._on_attempt(ended.latency_s)
        if ended.failure is None:
            self._dispatcher.succeed(start, tokens=total_tokens(ended.usage))
            self._deaths_in_a_row = 0
        elif self._dispatcher.fail(attempt, start, ended.failure):
            return
        self._keep(attempt, ended)

    def _take_back(self, worker: Worker, death: Death) -> None:
        """Find out which line a worker died of: the one that was alone with it; several are tried again, one by one.

        A machine that is gone died of none of them: they have a retry. One that was ended since its loop was blocked
        costs the line its time, as any time-out does. Raises FlowError after some deaths without a line completed.
        """
        lost = list(worker.in_flight.values())
        kind, message = "WorkerDied", f"the flow's process ended ({death.how}) while it executed this line"
        if worker.is_stuck:
            kind, message = "TimeoutError", _STUCK.format(self._limits.timeout_s, _STUCK_AFTER_TIMEOUT_S)
        for attempt in lost:
            if self._dispatcher.lose(attempt, worker.starts[attempt.number], retry=death.machine_lost):
                continue
            if death.machine_lost or len(lost) == 1:
                self._keep(attempt, unanswered(attempt, kind, message))
            else:
                self._dispatcher.attempt_alone(attempt)
        self._deaths_in_a_row += not (death.machine_lost or worker.is_stuck)
        if self._deaths_in_a_row == _MOST_DEATHS:
            raise FlowError(
                f"the flow's process died {_MOST_DEATHS} times ({death.how}) and completed no line in between; what "
                "was done is kept"
            )

    def _keep(self, attempt: Attempt, ended: Ended) -> None:
        try:
            self._on_end(attempt, ended)
        except Exception as error:
            self.give_up(error)
