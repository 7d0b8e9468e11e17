"""The inputs that neither a column nor the mapping reaches: which of them must not be left to their default.

How sure that is decides. A chat input, a sample default of an input named like data, a column whose name has the same
letters, a flow that no column reaches: refused, with the mapping to type. What is less sure is warned of, once.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from phi3flow.errors import ColumnMappingError
from phi3flow.flows.inputs import FlowInput
from phi3flow.text import letters, shorten, visible

_LOG = logging.getLogger(__name__)

Columns = Mapping[str, Sequence[str]]
"""The names of each source's columns: ``{"run.outputs": [...], "data": [...]}``."""

Meaning = Literal["history", "ground truth", "answer", "context", "question"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_WORDS: Mapping[Meaning, frozenset[str]] = {
    "history": _names("chathistory history conversationhistory"),
    "ground truth": _names(
        "groundtruth truth expected expectedanswer expectedoutput reference referenceanswer target label gold "
        "goldanswer correct correctanswer ideal idealanswer solution"
    ),
    "answer": _names("answer response output prediction completion reply"),
    "context": _names("context contexts document documents passage passages"),
    "question": _names(
        "question query prompt input instruction utterance request userquestion userquery userinput usermessage "
        "chatinput"
    ),
}
_ASKED = _names("question query userquestion userquery userinput usermessage chatinput")
_DATA = _ASKED | _names("answer response prediction groundtruth truth expectedanswer referenceanswer")
_KEYS = _names("id ids index number key hash split system history template values usage")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+")
_BRACES = re.compile(r"[{}]")
_NEAR = 0.88  # quesion, questions


@dataclass(frozen=True)
class Column:
    """A column of a source that no input takes."""

    source: str
    name: str

    @property
    def reference(self) -> str:
        """How a mapping names it."""
        return f"${{{self.source}.{self.name}}}"

    @property
    def meaning(self) -> Meaning | None:
        """What it holds, as far as its name says."""
        return _meaning({letters(self.name)} | (set() if self._words & _KEYS else self._words))

    @property
    def is_idle(self) -> bool:
        """Whether nobody can say what it is for: its name says neither what it holds nor that it names the line."""
        return not (self.meaning or self._words & _KEYS)

    @property
    def _words(self) -> set[str]:
        return {word.casefold() for word in _WORD.findall(self.name)}


def check_left_inputs(
    mapped: Iterable[str], *, inputs: Mapping[str, FlowInput], columns: Columns, used: Iterable[str], where: str
) -> None:
    """Refuse the inputs that are not ``mapped`` and must be, or warn of those that perhaps should be.

    ``used`` are the names of the columns that an input takes. Raises ColumnMappingError.
    """
    left = _Left(inputs, set(mapped), columns, _unused(columns, set(used)))
    if refused := left.refused():
        raise ColumnMappingError(
            f"{where}: {'; '.join(refused.values())}; the columns are {list_columns(columns)}. "
            f"Add {left.mapping_of(refused)} (or INPUT=VALUE, the same for every line)"
        )
    if doubted := left.doubted():
        text = f"{'; '.join(doubted.values())}: {left.mapping_of(doubted)} (or INPUT=VALUE) settles it"
        _LOG.warning("warning: %s: %s", where, visible(text))


def optional_inputs(inputs: Mapping[str, FlowInput]) -> set[str]:
    """Return the inputs that a line may lack: the chat history, and those whose default stands in for a value.

    A sample stands in for none in what is asked or scored; where no input says by mark or name that it is that, each
    input with a sample may be.
    """
    data = {name for name, declared in inputs.items() if declared.is_chat_input or letters(name) in _DATA}
    sets_something = inputs.keys() - data if data else set()

    def stands_in(name: str, declared: FlowInput) -> bool:
        may_be_data = declared.is_sample and name not in sets_something
        return declared.has_default and not declared.is_chat_input and not may_be_data

    return {name for name, declared in inputs.items() if declared.is_chat_history or stands_in(name, declared)}


def is_asked(name: str, declared: FlowInput) -> bool:
    """Whether an input is what a line asks: it is the chat input, or named so."""
    return declared.is_chat_input or letters(name) in _ASKED


def list_columns(columns: Columns) -> str:
    """Return the columns as a mapping names them."""
    return ", ".join(f"${{{source}.{name}}}" for source, names in columns.items() for name in names) or "none"


@dataclass(frozen=True)
class _Left:
    """The inputs of a flow, of which some are ``mapped``, and the columns that none takes."""

    inputs: Mapping[str, FlowInput]
    mapped: set[str]
    columns: Columns
    unused: Sequence[Column]

    def refused(self) -> dict[str, str]:
        """Return why an input must not be left to its default, by input."""
        reasons = {name: reason for name, declared in self._left() if (reason := self._refusal(name, declared))}
        content = {name: own for name, own in self.inputs.items() if own.is_content and own.is_read}
        if reasons or self.mapped.intersection(content):
            return reasons
        samples = [name for name, declared in content.items() if declared.is_sample]
        return {name: f"no column reaches the flow: {self._rests(name)}" for name in samples or content}

    def doubted(self) -> dict[str, str]:
        """Return why it is doubtful that an input is meant to have its default, by input."""
        idle = ", ".join(column.reference for column in self.unused if column.is_idle)
        doubts = dict[str, str]()
        for name, declared in self._left():
            column = self._meant_for(name)
            if not declared.is_read:
                continue
            if column:
                doubts[name] = f"{self._rests(name)}, and {column.reference} may be meant for it"
            elif not self.mapped and not declared.is_chat_history:
                doubts[name] = f"no column reaches the flow: {self._rests(name)}"
            elif declared.is_sample and idle:
                doubts[name] = f"{self._rests(name)}, and no input takes {idle}"
        return doubts

    def mapping_of(self, names: Iterable[str]) -> str:
        """Return the flag that maps each of the inputs to its likely column."""
        return f"--column-mapping {' '.join(f'{name}={shlex.quote(self._suggestion(name))}' for name in names)}"

    def _left(self) -> list[tuple[str, FlowInput]]:
        return [(name, declared) for name, declared in self.inputs.items() if name not in self.mapped]

    def _refusal(self, name: str, declared: FlowInput) -> str | None:
        if not declared.has_default and not declared.is_chat_history:
            return (
                f"the flow's input {name!r} gets no value: it has no default, there is no column {name!r} and no "
                "column_mapping names it"
            )
        if declared.is_chat_input:
            return f"no column reaches the chat input: {self._rests(name)}"
        if not declared.is_read:
            return None
        column = self._meant_for(name)
        if column and (declared.is_sample or letters(column.name) == letters(name)):
            return f"{self._rests(name)}, and {column.reference} seems meant for it"
        if declared.is_sample and letters(name) in _DATA:
            return f"{self._rests(name)}, which is a sample and no data"
        return None

    def _rests(self, name: str) -> str:
        declared = self.inputs[name]
        value = "" if declared.is_computed else f" {shorten(repr(declared.default))}"
        return f"{name!r} would be its default{value} in every line"

    def _meaning(self, name: str) -> Meaning | None:
        return "question" if self.inputs[name].is_chat_input else _meaning({letters(name)})

    def _meant_for(self, name: str) -> Column | None:
        """Return the unused column that is nearest in name, else one that means the same, where no input has that."""
        by_letters = {letters(column.name): column for column in reversed(self.unused)}
        if near := get_close_matches(letters(name), by_letters, n=1, cutoff=_NEAR):
            return by_letters[near[0]]
        meaning = self._meaning(name)
        if meaning is None or meaning in map(self._meaning, self.mapped):
            return None
        return next((column for column in self.unused if column.meaning == meaning), None)

    def _suggestion(self, name: str) -> str:
        meaning = self._meaning(name)
        idle = [column for column in self.unused if column.is_idle]
        questions = [column for column in self.unused if column.meaning == "question" and meaning is None]
        likely = [self._meant_for(name), *(idle if len(idle) == 1 else []), *questions]
        column = next(filter(None, likely), None)
        source = "run.outputs" if "run.outputs" in self.columns and meaning == "answer" else "data"
        return (column or Column(source, "COLUMN")).reference


def _unused(columns: Columns, used: set[str]) -> list[Column]:
    """Return the columns that no input takes and a mapping can name; of several of one name the first."""
    unused = dict[str, Column]()
    for source, names in columns.items():
        for name in names:
            if name not in used and not _BRACES.search(name):
                unused.setdefault(name, Column(source, name))
    return list(unused.values())


def _meaning(words: set[str]) -> Meaning | None:
    return next((meaning for meaning, own in _WORDS.items() if own & words), None)
