"""``results.jsonl``: a record of each line that a run attempted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from phi3flow.records.record import Record

TRACEBACKS_FILE = "tracebacks.jsonl"
LOG_FILE = "logs.txt"
"""What the flow printed, and how lines failed."""

LineStatus = Literal["Completed", "Failed"]


class LineError(Record):
    """Why a line failed: the exception's type, its message, and the HTTP status where there was one."""

    type: str
    message: str
    status_code: int | None = None


class Traceback(Record):
    """A line of ``tracebacks.jsonl``: where a line failed, and how it came there.

    ``file`` is relative to the flow's folder, ``file_line`` counts from 1; both are None of what failed elsewhere.
    """

    line_number: int
    node: str | None
    file: str | None
    file_line: int | None
    traceback: str

    @property
    def place(self) -> str:
        """The node and the place in its file, as far as they are known: ``node ask, ask.py:7``."""
        node, place = self.node and f"node {self.node}", self.file and f"{self.file}:{self.file_line}"
        return ", ".join(part for part in (node, place) if part)


class Usage(Record):
    """A line's tokens, as the endpoint reported them or as the model's tokenizer counts them."""

    prompt_tokens: int
    completion_tokens: int
    counted_by: Literal["endpoint", "tokenizer"] = "endpoint"


class LineResult(Record):
    """One line of ``results.jsonl``: what went in, what came out, or why nothing did.

    ``line_number`` counts from 0; ``latency_ms`` is the last attempt's, None where a job in the cloud does not tell;
    ``outputs`` is None where the line failed; ``attempts`` is 0 where the answer came from the cache.
    """

    line_number: int = Field(ge=0)
    line_id: str
    status: LineStatus
    inputs: dict[str, Any]
    outputs: dict[str, Any] | None = None
    error: LineError | None = None
    attempts: int = 1
    latency_ms: float | None
    usage: Usage | None = None
