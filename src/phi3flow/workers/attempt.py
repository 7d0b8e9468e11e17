"""One attempt at one line, in a worker: from the row's bytes to the line of results.jsonl."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from phi3flow.connections.public import secret_values
from phi3flow.datasets.tokens import tokenizer_counter
from phi3flow.flows import Flow, FlowLine, FlowSession
from phi3flow.flows.column_mapping import map_line
from phi3flow.pacing.failures import describe_failure
from phi3flow.records.lines import LineError, LineResult
from phi3flow.storage.jsonl import line_id, parse_row
from phi3flow.workers.messages import Attempt, Begin, Ended
from phi3flow.workers.usage import line_usage


class Attempts:
    """Executes attempts with one open flow. Its connections' secrets are cut out of everything that leaves."""

    def __init__(self, session: FlowSession, begin: Begin) -> None:
        self._session = session
        self._count = tokenizer_counter(begin.tokenizer) if begin.tokenizer else None
        self._begin = begin
        secrets = (value for each in session.used_connections.values() for value in secret_values(each))
        self._begun: list[tuple[int, float]] = []
        self._secrets = [_json_text(secret) for secret in secrets]

    async def run(self, attempt: Attempt) -> Ended:
        """Execute one attempt. It never raises: an error is described."""
        row = parse_row(attempt.row)
        inputs: dict[str, Any] = row
        started = time.perf_counter()
        try:
            inputs = line_inputs(self._begin.mapping, row, attempt.history, self._session.flow)
            started = time.perf_counter()
            self._begun.append((attempt.number, started))
            done = await self._session.exec_line(inputs, line_number=attempt.number, timeout_s=self._begin.timeout_s)
        except Exception as error:
            return self._failed(attempt, row, inputs, error, time.perf_counter() - started)
        return self._completed(attempt, row, inputs, done, time.perf_counter() - started)

    def _completed(
        self, attempt: Attempt, row: dict[str, Any], inputs: dict[str, Any], done: FlowLine, latency_s: float
    ) -> Ended:
        usage = line_usage(inputs, done, self._count)
        result = LineResult(
            line_number=attempt.number,
            line_id=attempt.line_id or line_id(row),
            status="Completed",
            inputs=inputs,
            outputs=_jsonable(done.outputs),
            attempts=attempt.attempts,
            latency_ms=_milliseconds(latency_s),
            usage=usage,
        )
        return Ended(
            attempt.number, True, self._without_secrets(result), latency_s, usage=usage, begun=self._take_begun()
        )

    def _failed(
        self, attempt: Attempt, row: dict[str, Any], inputs: dict[str, Any], error: Exception, latency_s: float
    ) -> Ended:
        failure = describe_failure(error)
        result = LineResult(
            line_number=attempt.number,
            line_id=attempt.line_id or line_id(row),
            status="Failed",
            inputs=inputs,
            error=failure.error,
            attempts=attempt.attempts,
            latency_ms=_milliseconds(latency_s),
        )
        return Ended(
            attempt.number,
            False,
            self._without_secrets(result),
            latency_s,
            retryable=failure.retryable,
            timed_out=isinstance(error, TimeoutError),
            status_code=failure.error.status_code,
            retry_after_s=failure.retry_after_s,
            message=failure.error.message,
            begun=self._take_begun(),
        )

    def _take_begun(self) -> tuple[tuple[int, float], ...]:
        now, begun = time.perf_counter(), self._begun
        self._begun = []
        return tuple((number, now - started) for number, started in begun)

    def _without_secrets(self, result: LineResult) -> bytes:
        content = result.model_dump_json().encode()
        for secret in self._secrets:
            content = content.replace(secret, b"***")
        return content


def line_inputs(
    mapping: Mapping[str, Any], row: Mapping[str, Any], history: list[dict[str, Any]] | None, flow: Flow
) -> dict[str, Any]:
    """Return the flow's inputs for a row; ``history`` takes the place of the row's chat history where there is one."""
    inputs = map_line(mapping, {"data": row}, optional=flow.optional_inputs)
    names = [name for name, one in flow.inputs.items() if one.is_chat_history]
    return inputs if history is None else {**inputs, **dict.fromkeys(names, history)}


def unanswered(attempt: Attempt, kind: str, message: str) -> bytes:
    """Return the line of results.jsonl for what has no answer: its worker died of it, or it was not sent."""
    row = parse_row(attempt.row)
    result = LineResult(
        line_number=attempt.number,
        line_id=attempt.line_id or line_id(row),
        status="Failed",
        inputs=row,
        error=LineError(type=kind, message=message),
        attempts=attempt.attempts,
        latency_ms=0.0,
    )
    return result.model_dump_json().encode()


def _jsonable(outputs: dict[str, Any]) -> dict[str, Any]:
    """Turn outputs that JSON does not know into text; NaN and infinity too, which no JSON reader accepts."""
    try:
        json.dumps(outputs, allow_nan=False)
        return outputs
    except (TypeError, ValueError):
        return json.loads(json.dumps(outputs, default=str), parse_constant=str)  # type: ignore[no-any-return]


def _json_text(value: str) -> bytes:
    return json.dumps(value, ensure_ascii=False)[1:-1].encode()


def _milliseconds(latency_s: float) -> float:
    return round(latency_s * 1000, 3)
