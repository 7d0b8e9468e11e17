"""What is kept of a line beside its result: its traceback, what it printed, and what its nodes gave."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from phi3flow.connections.public import Redactor
from phi3flow.flows.observed import ObservedLine
from phi3flow.pacing.failures import Failure
from phi3flow.records.lines import LOG_FILE, TRACEBACKS_FILE, Traceback
from phi3flow.records.traces import TRACES_FILE, LineTrace
from phi3flow.text import visible, whole

_LONGEST_TRACEBACK = 8_000
_LONGEST_LOG = 16_000
_LONGEST_TEXT = 20_000

Beside = tuple[tuple[str, bytes], ...]
"""Files of the run's folder, and what is appended to each before the line's result."""


def beside_result(
    line_number: int,
    observed: ObservedLine,
    redactor: Redactor,
    *,
    attempts: int = 1,
    failure: Failure | None = None,
    traceback: Traceback | None = None,
) -> Beside:
    """Return what is kept beside a result, without secrets, which are cut out before texts are shortened."""
    files: list[tuple[str, bytes]] = []
    if traceback is not None:
        text = redactor.error(traceback.traceback)
        text = text if len(text) <= _LONGEST_TRACEBACK else f"…{text[-_LONGEST_TRACEBACK:]}"
        traceback = traceback.model_copy(update={"traceback": text})
        files.append((TRACEBACKS_FILE, traceback.model_dump_json().encode() + b"\n"))
    if log := "".join(_log(line_number, observed, redactor, failure, traceback)):
        files.append((LOG_FILE, whole(log).encode()))
    if observed.traced:
        nodes = [
            node.model_copy(update={"error": node.error and redactor.error(node.error)}) for node in observed.nodes
        ]
        trace = LineTrace(line_number=line_number, attempts=attempts, nodes=nodes)
        content = json.dumps(trace.model_dump(), ensure_ascii=True).encode()  # half characters too
        shortened = _shortened(json.loads(redactor.json(content)))
        files.append((TRACES_FILE, json.dumps(shortened, ensure_ascii=True).encode() + b"\n"))
    return tuple(files)


def aggregation_log(observed: ObservedLine, redactor: Redactor) -> Beside:
    """Return what an aggregation printed, as it is logged."""
    log = "".join(_printed("the aggregation", observed, redactor))
    return ((LOG_FILE, whole(log).encode()),) if log else ()


def _printed(where: str, observed: ObservedLine, redactor: Redactor) -> Iterator[str]:
    """Yield what a flow printed as ``pf`` logs it, [NODE in WHERE] stdout> TEXT, without secrets."""
    printed = 0
    for entry in observed.printed:
        text = visible(redactor.error(entry.text))
        printed += len(text)
        if printed > _LONGEST_LOG:
            break
        level = "INFO" if entry.stream == "stdout" else "WARNING"
        yield f"{_stamp(entry.at)} {level} [{entry.node} in {where}] {entry.stream}> {text}\n"
    if observed.is_cut or printed > _LONGEST_LOG:
        yield f"{_stamp(datetime.now(UTC))} WARNING [{where}] more was printed than is kept\n"


def _log(
    number: int, observed: ObservedLine, redactor: Redactor, failure: Failure | None, traceback: Traceback | None
) -> Iterator[str]:
    line = f"line {number} (index starts from 0)"
    yield from _printed(line, observed, redactor)
    if failure is not None:
        place = f" ({traceback.place})" if traceback else ""
        reason = f"{failure.error.type}: {failure.message}"
        yield f"{_stamp(datetime.now(UTC))} ERROR {line} failed{place}: {visible(reason)}\n"
        yield visible(traceback.traceback) if traceback else ""


def _stamp(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S %z} phi3flow"


def _shortened(value: Any) -> Any:
    if isinstance(value, str):
        more = len(value) - _LONGEST_TEXT
        return value if more <= 0 else f"{value[:_LONGEST_TEXT]}… ({more:,} more characters)"
    if isinstance(value, dict):
        return {name: _shortened(item) for name, item in value.items()}
    return [_shortened(item) for item in value] if isinstance(value, list) else value
