"""One attempt at one line, in a worker: from the row's bytes to the line of results.jsonl."""

from __future__ import annotations

import dataclasses
import json
import pickle
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from phi3flow.connections.public import Redactor
from phi3flow.flows import Flow, FlowLine, FlowSession
from phi3flow.flows.column_mapping import map_inputs
from phi3flow.flows.observed import ObservedLine
from phi3flow.flows.threads import is_cancelled
from phi3flow.pacing.failures import Failure, error_text
from phi3flow.records.images import image_paths, located
from phi3flow.records.lines import LineError, LineResult
from phi3flow.records.validation import first_problem
from phi3flow.storage.exact_json import encode_exactly
from phi3flow.storage.jsonl import line_id, parse_row
from phi3flow.text import whole
from phi3flow.workers.beside import Beside, beside_result
from phi3flow.workers.messages import Attempt, Begin, Ended
from phi3flow.workers.usage import line_usage


class BegunAttempts:
    """The attempts whose execution has begun since they were last told of."""

    def __init__(self) -> None:
        self._begun: list[tuple[int, float]] = []

    def add(self, number: int) -> float:
        """Take note that a line's execution begins; return when, in seconds of ``time.perf_counter``."""
        now = time.perf_counter()
        self._begun.append((number, now))
        return now

    def take(self) -> tuple[tuple[int, float], ...]:
        """Return each line's number, and how many seconds ago it began; forget them."""
        now, begun = time.perf_counter(), self._begun
        self._begun = []
        return tuple((number, now - begun_s) for number, begun_s in begun)


class Attempts:
    """Executes attempts with one open flow. Its connections' secrets are cut out of everything that leaves."""

    def __init__(self, session: FlowSession, begin: Begin) -> None:
        self._session = session
        self._count = _counter(begin.tokenizer) if begin.tokenizer else None
        self._begin = begin
        self._begun = BegunAttempts()
        self._redactor = Redactor(session)

    async def run(self, attempt: Attempt) -> Ended:
        """Execute one attempt. It never raises: an error is described, also one of what the flow returned."""
        row = parse_row(attempt.row)
        inputs: dict[str, Any] = row
        observed = ObservedLine(traced=self._begin.trace)
        started_s = time.perf_counter()
        try:
            inputs = line_inputs(self._begin.mapping, row, attempt.history, self._session.flow)
            with_images = self._located(attempt, row, inputs)
            tools_own = pickle.loads(pickle.dumps(with_images))  # a tool may change it
            started_s = self._begun.add(attempt.number)
            line = await self._session.exec_line(
                tools_own, line_number=attempt.number, timeout_s=self._begin.timeout_s, observed=observed
            )
            ended = self._completed(attempt, row, inputs, line, time.perf_counter() - started_s)
            kept = beside_result(attempt.number, observed, self._redactor, attempts=attempt.attempts)
            return replace(ended, beside=kept)
        except BaseException as error:
            if is_cancelled():
                raise
            ended = self._failed(attempt, row, inputs, error, time.perf_counter() - started_s)
            ended = replace(ended, beside=self._beside_failure(attempt, observed, error, ended.failure))
            _forget_values(error)
            return ended

    def _located(self, attempt: Attempt, row: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the inputs with absolute paths of images: a record keeps them as the data has them."""
        if not any(image_paths(inputs)):
            return inputs
        history = located(attempt.history, self._begin.run_folder)
        row = located(row, self._begin.data_folder)
        return line_inputs(self._begin.mapping, row, history, self._session.flow)

    def _completed(
        self, attempt: Attempt, row: dict[str, Any], inputs: dict[str, Any], line: FlowLine, latency_s: float
    ) -> Ended:
        usage = line_usage(inputs, line, self._count)
        outputs, images = self._session.with_image_files(line.outputs)
        result = LineResult(
            line_number=attempt.number,
            line_id=attempt.line_id or line_id(row),
            status="Completed",
            inputs=inputs,
            outputs=_jsonable(outputs),
            attempts=attempt.attempts,
            latency_ms=_milliseconds(latency_s),
            usage=usage,
        )
        content = self._redactor.json(_read_back(_encode(result)))
        return Ended(
            attempt.number,
            content,
            latency_s,
            usage=usage,
            begun=self._begun.take(),
            aggregation_inputs=self._aggregation_inputs(line),
            images=tuple(images.items()),
        )

    def _aggregation_inputs(self, line: FlowLine) -> bytes | None:
        if not self._session.has_aggregation:  # one that there is may want nothing of the line but the flow's inputs
            return None
        try:
            return self._redactor.json(encode_exactly(self._session.with_image_texts(line.aggregation_inputs)))
        except Exception:
            return b"null"

    def _failed(
        self, attempt: Attempt, row: dict[str, Any], inputs: dict[str, Any], error: BaseException, latency_s: float
    ) -> Ended:
        failure = self._redactor.describe(error)
        result = LineResult(
            line_number=attempt.number,
            line_id=attempt.line_id or line_id(row),
            status="Failed",
            inputs=inputs,
            error=failure.error,
            attempts=attempt.attempts,
            latency_ms=_milliseconds(latency_s),
        )
        try:
            content = _read_back(_encode(result))
        except (TypeError, ValueError):  # what went in has no end of depth: the reason counts
            content = _encode(result.model_copy(update={"inputs": {}}))
        return Ended(
            attempt.number,
            self._redactor.json(content),
            latency_s,
            failure=failure,
            begun=self._begun.take(),
        )

    def _beside_failure(
        self, attempt: Attempt, observed: ObservedLine, error: BaseException, failure: Failure | None
    ) -> Beside:
        traceback = self._session.traceback(error, observed, line_number=attempt.number)
        return beside_result(
            attempt.number,
            observed,
            self._redactor,
            attempts=attempt.attempts,
            failure=failure,
            traceback=traceback,
        )


def _forget_values(error: BaseException) -> None:
    """Let go of what an error's frames hold, such as a large answer: promptflow's records keep errors for long."""
    chain, passed = [error], set[int]()
    while chain:
        raised = chain.pop()
        if id(raised) not in passed:
            passed.add(id(raised))
            traceback.clear_frames(raised.__traceback__)
            chain += [cause for cause in (raised.__cause__, raised.__context__) if cause]


def _counter(tokenizer: Path) -> Callable[[str], int]:
    from phi3flow.datasets.tokens import tokenizer_counter  # chats, of which few flows' workers need to know

    return tokenizer_counter(tokenizer)


def line_inputs(
    mapping: Mapping[str, Any], row: Mapping[str, Any], history: list[dict[str, Any]] | None, flow: Flow
) -> dict[str, Any]:
    """Return the flow's inputs for a row; ``history`` takes the place of the row's chat history where there is one.

    A chat history that neither has, nor a default, is empty, as under ``pf flow test``.
    """
    inputs = map_inputs(mapping, {"data": row}, flow.inputs, optional=flow.optional_inputs)
    for name, flow_input in flow.inputs.items():
        if flow_input.is_chat_history and history is not None:
            inputs[name] = history
        elif flow_input.is_chat_history and not flow_input.has_default:
            inputs.setdefault(name, [])
    return inputs


async def run_or_fail(run: Callable[[Attempt], Awaitable[Ended]], attempt: Attempt) -> Ended:
    """Return what becomes of an attempt, whatever is raised: a line that nobody hears of is waited for without end."""
    try:
        return await run(attempt)
    except Exception as error:
        return unanswered(attempt, type(error).__name__, f"it could not be described: {error_text(error)}")


def unanswered(attempt: Attempt, kind: str, message: str) -> Ended:
    """Return the end of what has no answer: its worker died of it, or it was not sent."""
    row, error = parse_row(attempt.row), LineError(type=kind, message=message)
    result = LineResult(
        line_number=attempt.number,
        line_id=attempt.line_id or line_id(row),
        status="Failed",
        inputs=row,
        error=error,
        attempts=attempt.attempts,
        latency_ms=0.0,
    )
    return Ended(attempt.number, _encode(result), 0.0, failure=Failure(error, retryable=False))


def _jsonable(outputs: dict[str, Any]) -> dict[str, Any]:
    """Return outputs as JSON has them, as ``pf`` does: dataclasses by their fields, nan and infinity as text.

    Raises TypeError where one is nothing of the kind, or does something else when it is asked.
    """
    try:
        return json.loads(json.dumps(outputs, allow_nan=False))  # type: ignore[no-any-return]
    except Exception:
        return {str(name): _as_json(str(name), value) for name, value in outputs.items()}


def _as_json(name: str, value: Any) -> Any:
    from promptflow._utils.utils import default_json_encoder

    def encode(part: Any) -> Any:
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            return {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        return default_json_encoder(part)

    try:
        return json.loads(json.dumps(value, default=encode), parse_constant=str)
    except Exception as error:
        raise TypeError(f"the output {name!r} is no JSON: {error_text(error)}") from error


def _read_back(content: bytes) -> bytes:
    """Return a line of results.jsonl that can be read. Raises TypeError where it cannot: its numbers, or its depth."""
    try:
        LineResult.model_validate_json(content)
    except ValidationError as error:
        raise TypeError(f"the outputs cannot be read back: {first_problem(error)}") from error
    return content


def _encode(result: LineResult) -> bytes:
    """Return the line of results.jsonl; half a character, which UTF-8 has not, becomes U+FFFD, and stderr says so."""
    try:
        return result.model_dump_json().encode()
    except PydanticSerializationError:
        mended = result.model_copy(update={"inputs": _whole(result.inputs), "outputs": _whole(result.outputs)})
        sys.stderr.write(f"warning: line {result.line_number}: half a character (a lone surrogate) became U+FFFD\n")
        return mended.model_dump_json().encode()


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, dict):
        return {_whole(key): _whole(item) for key, item in value.items()}
    return [_whole(item) for item in value] if isinstance(value, list | tuple) else value


def _milliseconds(latency_s: float) -> float:
    return round(latency_s * 1000, 3)
