"""A worker is heard in whatever order its messages come."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from phi3flow.pacing.start import Start
from phi3flow.workers.crew import Worker
from phi3flow.workers.messages import Attempt, Ended
from phi3flow.workers.process import Death


class _Said:
    """A process that says what was prepared, and has then ended."""

    def __init__(self, *messages: Ended) -> None:
        self._messages = deque(messages)

    def send(self, message: object) -> None:
        pass

    async def receive(self) -> Any:
        return self._messages.popleft() if self._messages else None

    async def death(self) -> Death:
        return Death("exit code 0")

    def kill(self) -> None:
        pass

    async def close(self) -> None:
        pass


def test_a_message_that_was_overtaken_by_the_next_costs_no_line() -> None:
    """Ray delivers results in any order: the second line's tells when the first, which has ended, began."""
    first = Ended(0, True, b"{}", 0.1)
    second = Ended(1, True, b"{}", 0.1, begun=((0, 0.2), (1, 0.1)))
    worker, sent, ended = Worker(_Said(first, second)), list[Start](), list[int]()
    starts = [Start(0.0, 0, 0.0), Start(0.0, 1, 0.0)]
    for number, start in enumerate(starts):
        worker.submit(Attempt(number, b"{}", None, 1), start)
    death = asyncio.run(
        worker.listen(lambda start, at_s: sent.append(start), lambda attempt, *_: ended.append(attempt.number))
    )
    assert (ended, sent, death.how) == ([0, 1], [starts[1]], "exit code 0")
    assert worker.in_flight == {}
