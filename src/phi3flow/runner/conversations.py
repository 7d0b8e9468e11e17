"""Which line may be sent now: any, or in whole conversations only the one whose earlier turns are answered.

With the model's own history a line's recorded history counts for the number of its turns alone: each turn's answer
becomes what this run got for it. A turn that is no line of the file (a leak that prepare-data left out) stays as
recorded.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from phi3flow.errors import ColumnMappingError, ConfigError, DatasetError
from phi3flow.flows import Flow
from phi3flow.flows.column_mapping import map_line
from phi3flow.records.lines import LineResult
from phi3flow.runner.data_lines import DataLine, DataLines
from phi3flow.runs.conversations import cluster_labels
from phi3flow.storage.jsonl import parse_row

_MOST_PARKED = 10_000

Turn = dict[str, Any]
_Key = tuple[int, str]
"""A conversation: which repeat of the lines, and its label."""


class LineSource(Protocol):
    """Gives lines to run."""

    is_exhausted: bool
    """Whether no more will come, but for lines that wait for what is in flight."""

    def take(self) -> DataLine | None:
        """Return the next line that can be sent now, None where there is none."""

    def keep(self, number: int, result: bytes | None) -> None:
        """Take note of a line's record of results.jsonl, None where it failed."""


class AnyOrder:
    """Lines that do not depend on each other."""

    def __init__(self, lines: Iterator[DataLine]) -> None:
        self.is_exhausted = False
        self._lines = lines

    def take(self) -> DataLine | None:
        """See LineSource."""
        line = next(self._lines, None)
        self.is_exhausted = line is None
        return line

    def keep(self, number: int, result: bytes | None) -> None:
        """See LineSource."""


@dataclass(frozen=True)
class ChatNames:
    """What a chat flow calls its history, its question and its answer."""

    history: str
    question: str
    answer: str

    @classmethod
    def of(cls, flow: Flow) -> ChatNames:
        """Read the marks of a flow. Raises ConfigError where one is missing."""
        history = next((name for name, declared in flow.inputs.items() if declared.is_chat_history), None)
        question = next((name for name, declared in flow.inputs.items() if declared.is_chat_input), None)
        if history is None or question is None or flow.chat_output is None:
            raise ConfigError(
                f"--history own: {flow.folder} is no chat flow: it must mark an is_chat_history input, an "
                "is_chat_input input and an is_chat_output output"
            )
        return cls(history, question, flow.chat_output)


@dataclass
class _Conversation:
    """``turns`` by number, as this run answered them; ``left`` lines have not ended; ``waiting`` come after one."""

    left: int
    seen: int = 0
    turns: dict[int, Turn] = field(default_factory=dict)
    failed: int | None = None
    is_busy: bool = False
    waiting: deque[DataLine] = field(default_factory=deque)


class OwnHistory:
    """Lines in whole conversations: one of each at a time, with the model's own earlier answers as its history.

    A line whose earlier turn failed is given as one that is refused. ``results`` are what earlier openings of the run
    completed. Raises DatasetError where a conversation's turns are not in order in the file.
    """

    def __init__(
        self,
        lines: DataLines,
        order: Iterable[DataLine],
        *,
        names: ChatNames,
        mapping: Mapping[str, Any],
        results: Iterable[LineResult],
    ) -> None:
        self.is_exhausted = False
        self._names = names
        self._mapping = mapping
        self._lines_a_repeat = lines.lines
        self._left = self._scan(lines)
        self._lines = iter(order)
        completed = (result for result in results if result.status == "Completed")
        self._completed = {result.line_number: self._turn(result) for result in completed}
        self._open: dict[_Key, _Conversation] = {}
        self._sent: dict[int, tuple[_Key, int]] = {}
        self._ready: deque[DataLine] = deque()
        self._parked = 0

    def take(self) -> DataLine | None:
        """See LineSource."""
        while not self._ready and self._parked < _MOST_PARKED:
            line = next(self._lines, None)
            if line is None:
                break
            self._sort(line)
        self.is_exhausted = not self._ready
        return self._prepared(self._ready.popleft()) if self._ready else None

    def keep(self, number: int, result: bytes | None) -> None:
        """See LineSource; the conversation's next line may be sent now."""
        key, turns_before = self._sent.pop(number)
        conversation = self._open[key]
        if result is not None:
            conversation.turns[turns_before] = self._turn(LineResult.model_validate_json(result))
        elif conversation.failed is None:
            conversation.failed = number
        self._end(key, conversation)
        conversation.is_busy = bool(conversation.waiting)
        if conversation.waiting:
            self._parked -= 1
            self._ready.append(conversation.waiting.popleft())

    def _sort(self, line: DataLine) -> None:
        """Take note of a line that an earlier opening completed; make another ready, or park it."""
        row = parse_row(line.row)
        key = self._key(line.number, row)
        conversation = self._open.setdefault(key, _Conversation(self._left[key]))
        turn = self._completed.pop(line.number, None)
        if turn is not None:
            conversation.turns[self._turns_before(row, conversation)] = turn
            conversation.seen += 1
            self._end(key, conversation)
        elif conversation.is_busy:
            self._parked += 1
            conversation.waiting.append(line)
        else:
            conversation.is_busy = True
            self._ready.append(line)

    def _key(self, number: int, row: Mapping[str, Any]) -> _Key:
        repeat, number = divmod(number, self._lines_a_repeat)
        (label,) = cluster_labels([row])
        return repeat, f"line {number}" if label == "line 0" else label

    def _end(self, key: _Key, conversation: _Conversation) -> None:
        conversation.left -= 1
        if not conversation.left:
            del self._open[key]

    def _prepared(self, line: DataLine) -> DataLine:
        row = parse_row(line.row)
        key = self._key(line.number, row)
        conversation = self._open[key]
        turns_before = self._turns_before(row, conversation)
        self._sent[line.number] = (key, turns_before)
        conversation.seen += 1
        if conversation.failed is not None:
            reason = (
                f"line {conversation.failed}, an earlier turn of {key[1]}, failed, so that the model has no history of "
                "its own; the same command tries both again"
            )
            return replace(line, refused=reason)
        recorded = self._recorded(row) or []
        return replace(line, history=[conversation.turns.get(n) or recorded[n] for n in range(turns_before)])

    def _turns_before(self, row: Mapping[str, Any], conversation: _Conversation) -> int:
        """Return how many turns come before a line: as many as are recorded, else the conversation's lines so far."""
        recorded = self._recorded(row)
        return conversation.seen if recorded is None else len(recorded)

    def _recorded(self, row: Mapping[str, Any]) -> list[Turn] | None:
        if self._names.history not in self._mapping:
            return None
        mapping = {self._names.history: self._mapping[self._names.history]}
        try:
            history = map_line(mapping, {"data": row}, optional=mapping).get(self._names.history)
        except ColumnMappingError:
            return None
        return history if isinstance(history, list) else None

    def _turn(self, result: LineResult) -> Turn:
        names, outputs = self._names, result.outputs or {}
        return {
            "inputs": {names.question: result.inputs.get(names.question)},
            "outputs": {names.answer: outputs.get(names.answer)},
        }

    def _scan(self, lines: DataLines) -> Counter[_Key]:
        """Return the lines of each conversation."""
        counts: Counter[_Key] = Counter()
        last_turns: dict[_Key, int] = {}
        for line in lines:
            row = parse_row(line.row)
            key = self._key(line.number, row)
            counts[key] += 1
            recorded = self._recorded(row)
            if recorded is None:
                continue
            if len(recorded) <= last_turns.get(key, -1):
                raise DatasetError(
                    f"{lines.path}: line {line.number} of {key[1]} has a history of {len(recorded)} turns, and an "
                    f"earlier line has one of {last_turns[key]}: --history own needs each turn once, in order"
                )
            last_turns[key] = len(recorded)
        return counts
