"""What is seen of a line while a flow executes it: what it prints, its nodes in turn, and its calls of models."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from phi3flow.flows.plain_values import seen_value
from phi3flow.records.traces import ModelCall, NodeTrace

_MOST_CHARACTERS, _MOST_LINES = 1_000_000, 1_000  # of one line's prints

StreamName = Literal["stdout", "stderr"]


class PrintedLine:
    """One line of what a flow printed, when it began, and in which node."""

    def __init__(self, node: str, stream: StreamName) -> None:
        self.node, self.stream = node, stream
        self.at = datetime.now(UTC)
        self.parts: list[str] = []

    @property
    def text(self) -> str:
        """What was written, without the end of the line."""
        return "".join(self.parts)


class ObservedLine:
    """What is seen of one line.

    ``usage`` has prompt_tokens and completion_tokens, summed, as far as openai's client heard of any; ``nodes`` and
    their calls are kept where the line is ``traced``; ``failed_node`` is where its error came from. ``printed`` has
    what it prints, unless that is to go to stderr: a million characters in a thousand lines at most; ``is_cut`` says
    that there was more.
    """

    def __init__(self, *, keeps_prints: bool = True, traced: bool = False) -> None:
        self.keeps_prints, self.traced = keeps_prints, traced
        self.usage: dict[str, int] = {}
        self.nodes: list[NodeTrace] = []
        self.failed_node: str | None = None
        self.printed: list[PrintedLine] = []
        self.is_cut = False
        self._room = _MOST_CHARACTERS
        self._open: dict[tuple[str, StreamName], PrintedLine] = {}

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """See what happens in this block, and in the tasks and threads of promptflow's that it starts."""
        token = _line.set(self)
        try:
            yield
        finally:
            _line.reset(token)

    def prints(self, node: str, stream: StreamName, text: str) -> None:
        """Take down what was written."""
        kept = text[: self._room]
        self._room -= len(kept)
        self.is_cut |= len(kept) < len(text)
        for part in kept.splitlines(keepends=True):
            line = self._open.get((node, stream))
            if line is None:
                if len(self.printed) == _MOST_LINES:
                    self.is_cut = True
                    return
                line = self._open[node, stream] = PrintedLine(node, stream)
                self.printed.append(line)
            line.parts.append(part.rstrip("\r\n"))
            if part.endswith("\n"):
                self._open.pop((node, stream), None)  # another thread of the node may write as well


_line: ContextVar[ObservedLine | None] = ContextVar("line", default=None)
_node: ContextVar[str] = ContextVar("node", default="the flow")
_calls: ContextVar[list[ModelCall] | None] = ContextVar("calls", default=None)


class NodeRun:
    """A node while it is executed; ``output`` is set by who executes it."""

    def __init__(self) -> None:
        self.output: Any = None


@contextlib.contextmanager
def observed_node(name: str, inputs: Mapping[str, Any]) -> Iterator[NodeRun]:
    """See what a node does, prints and gives, in this block and in what it calls."""
    line, run = _line.get(), NodeRun()
    token = _node.set(name)
    try:
        if line is None or not line.traced:
            yield run
            return
        with _traced(line, name, inputs, run):
            yield run
    except BaseException:
        if line is not None:
            line.failed_node = line.failed_node or name  # others are cancelled then
        raise
    finally:
        _node.reset(token)


@contextlib.contextmanager
def _traced(line: ObservedLine, name: str, inputs: Mapping[str, Any], run: NodeRun) -> Iterator[None]:
    begun_with, calls, began_s = seen_value(inputs), list[ModelCall](), time.perf_counter()
    token = _calls.set(calls)
    error: str | None = None
    try:
        yield
    except BaseException as raised:
        cause = raised.__cause__ or raised  # promptflow's wrapper has the tool's own
        error = f"{type(cause).__name__}: {seen_value(cause)}"
        raise
    finally:
        _calls.reset(token)
        if isinstance(run.output, str) and (sent := getattr(run.output, "messages", None)):  # as flows/chat_phi3 says
            calls.append(ModelCall(request={"messages": seen_value(sent)}, answer=seen_value(run.output)))
        line.nodes.append(
            NodeTrace(
                node=name,
                inputs=begun_with,
                output=seen_value(run.output),
                error=error,
                duration_ms=round((time.perf_counter() - began_s) * 1000, 3),
                calls=calls,
            )
        )


def traces_calls() -> bool:
    """Whether calls of models are kept here and now."""
    return _calls.get() is not None


def note_call(request: Mapping[str, Any], answer: Any, usage: Mapping[str, Any]) -> None:
    """Take down a call of a model: ``usage`` is what its answer says of tokens, of a stream nothing."""
    line, calls = _line.get(), _calls.get()
    if line is not None:
        for name in ("prompt_tokens", "completion_tokens"):
            line.usage[name] = line.usage.get(name, 0) + int(usage.get(name) or 0)
    if calls is not None:
        calls.append(ModelCall(request=seen_value(request), answer=seen_value(answer)))


class PrintedStream(io.TextIOBase):
    """A stream of Python's: what a line that is watched writes goes to it, all else to another stream."""

    def __init__(self, name: StreamName, other: TextIO) -> None:
        self._name: StreamName = name
        self._other = other

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The other stream's encoding."""
        return self._other.encoding or "utf-8"

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """What the other stream does with what it cannot encode."""
        return self._other.errors

    def write(self, text: str) -> int:
        """Write text."""
        line = _line.get()
        if line is None or not line.keeps_prints:
            return self._other.write(text)
        line.prints(_node.get(), self._name, text)
        return len(text)

    def flush(self) -> None:
        """Flush the other stream."""
        self._other.flush()

    def writable(self) -> bool:
        """Whether it can be written: it can."""
        return True

    def isatty(self) -> bool:
        """Whether a person reads it: nobody does."""
        return False

    def fileno(self) -> int:
        """Return the other stream's number."""
        return self._other.fileno()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)  # buffer, and what else a library asks for
