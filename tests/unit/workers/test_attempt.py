"""What a worker says of a line, also where describing it fails: a line that nobody hears of is waited for for ever."""

from __future__ import annotations

import asyncio

from phi3flow.records.lines import LineResult
from phi3flow.workers.attempt import run_or_fail
from phi3flow.workers.messages import Attempt, Ended


def test_an_attempt_that_cannot_be_described_has_ended_too() -> None:
    async def breaks(_: Attempt) -> Ended:
        raise UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed")

    ended = asyncio.run(run_or_fail(breaks, Attempt(7, b'{"question": "q"}', None, attempts=2)))
    assert ended.failure is not None
    assert not ended.failure.retryable
    result = LineResult.model_validate_json(ended.result)
    assert (result.line_number, result.status, result.attempts) == (7, "Failed", 2)
    assert result.error is not None
    assert result.error.type == "UnicodeEncodeError"
    assert result.error.message.startswith("it could not be described: ")
