"""The shapes in which chats are written elsewhere, and what makes chats of them.

Known are messages (OpenAI, TRL), ShareGPT, TRL's prompt and completion, Alpaca's instruction and input, and any pair of
a question's and an answer's column, with the turns before them in a column of their own. A row that may be read in two
ways is refused: a guess would train on another text.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phi3flow.datasets.chat import Breach, LocatedRow
from phi3flow.errors import ConfigError
from phi3flow.storage.conversation_names import CONVERSATION_COLUMN, conversation_column
from phi3flow.storage.jsonl import Row, WrittenFloat, parse_json
from phi3flow.text import letters, shorten

Rows = Iterator[LocatedRow | Breach]
"""Rows in their order; instead of one that cannot be read, what is wrong with it."""

QUESTION_COLUMNS = ("question", "prompt", "query", "instruction", "input")
ANSWER_COLUMNS = ("answer", "completion", "response", "output", "ground_truth")
SYSTEM_COLUMNS = ("system", "system_prompt")
MESSAGES_COLUMNS = ("messages", "conversations", "conversation")
HISTORY_COLUMNS = ("chat_history", "history")

_ALPACA = ("instruction", "input")
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
_SHOWN_COLUMNS = 200


@dataclass(frozen=True)
class Columns:
    """The columns that the user named, by what they are; ``data.question`` is a field of an object in a column."""

    question: str | None = None
    answer: str | None = None
    system: str | None = None
    messages: str | None = None
    conversation_id: str | None = None

    @classmethod
    def of(cls, named: Mapping[str, str]) -> Columns:
        """Return the columns of ``--columns``. Raises ConfigError for another name, and for names that exclude."""
        known = tuple(cls.__dataclass_fields__)
        for name, column in named.items():
            if name not in known or not column:
                raise ConfigError(f"--columns {name}={column}: write NAME=COLUMN, NAME one of {', '.join(known)}")
        if "messages" in named and {"question", "answer"} & named.keys():
            raise ConfigError("--columns: messages are question and answer: name either these or those")
        return cls(**named)


class ShapeReader:
    """Makes chats of rows, and counts in ``read_as`` the rows of each source by the shape that they were read as."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self.read_as = defaultdict[str, Counter[str]](Counter)

    def chats(self, rows: Iterable[LocatedRow | Breach]) -> Rows:
        """Yield each row as a chat, or why it is none. Whether the chat is right is for others to check."""
        for item in rows:
            if isinstance(item, Breach):
                yield item
                continue
            try:
                shape, chat = as_chat(item.row, self._columns)
            except ValueError as error:
                yield Breach(item.source, item.line, str(error))
            else:
                self.read_as[item.source][shape] += 1
                yield LocatedRow(item.source, item.line, chat)


def as_chat(row: Row, columns: Columns) -> tuple[str, Row]:
    """Return the shape in words, and the chat; its other columns stand beside ``messages``.

    Raises ValueError where no shape is known, or two are possible.
    """
    column = columns.messages or (None if columns.question or columns.answer else _messages_column(row))
    if column is None:
        shape, messages, used = _with_history(row, *_paired(row, columns))
    else:
        shape, messages = _unified(_parsed(_value(row, column), column), column)
        used = [column]
    system = columns.system or _system_column(row, messages)
    text = _text(_value(row, system), system) if system and isinstance(messages, list) else None
    if text and text.strip():
        messages = [{"role": "system", "content": text}, *messages]
        shape, used = f"{shape}, system message = {system}", [*used, str(system)]
    chat = {"messages": messages} | {key: value for key, value in row.items() if key not in (*used, "messages")}
    conversation = columns.conversation_id or conversation_column(row)
    if conversation and conversation != CONVERSATION_COLUMN:
        shape = f"{shape}, conversation = {conversation}"
    if columns.conversation_id:
        chat[CONVERSATION_COLUMN] = _value(row, columns.conversation_id)
    return shape, chat


def _messages_column(row: Row) -> str | None:
    """Return the column that holds messages; ``messages`` is one whatever it holds, ``conversation`` may be a text."""
    for column in _candidates(row, MESSAGES_COLUMNS):
        is_named_so = _is_named(column, "messages") and row[column] is not None
        if is_named_so or _is_messages(row[column]):
            return column
    return None


def _system_column(row: Row, messages: Any) -> str | None:
    """Return the column that holds a system message, unless the messages begin with their own."""
    opens = isinstance(messages, list) and any(_role(message) == "system" for message in messages[:1])
    column = next(iter(_candidates(row, SYSTEM_COLUMNS)), None)
    return column if column is not None and isinstance(row[column], str) and not opens else None


def _is_messages(value: Any) -> bool:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_json(value)
        except ValueError:
            return False
    return isinstance(value, list) and any(
        isinstance(message, dict) and {"role", "from"} & message.keys() for message in value[:1]
    )


def _parsed(messages: Any, column: str) -> Any:
    """Return messages, out of their JSON where they stand in a cell."""
    if not isinstance(messages, str):
        return messages
    try:
        return parse_json(messages)
    except ValueError as error:
        raise ValueError(f"{column} is not JSON: {shorten(messages)}") from error


def _unified(messages: Any, column: str) -> tuple[str, Any]:
    """Return what the messages are called, and the same with roles and contents; what is no message stays as it is."""
    if not isinstance(messages, list):
        return f"chats: {column}[].role/content", messages
    messages = [_without_none(message) for message in messages]
    if any(isinstance(message, dict) and "from" in message and "role" not in message for message in messages):
        return f"ShareGPT: {column}[].from/value", [_from_sharegpt(message) for message in messages]
    return f"chats: {column}[].role/content", messages


def _without_none(message: Any) -> Any:
    """Drop the absent fields of a message, which Arrow fills up."""
    return {key: value for key, value in message.items() if value is not None} if isinstance(message, dict) else message


def _from_sharegpt(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    role, content = message.get("from"), _text(message.get("value"), "value")
    others = {key: value for key, value in message.items() if key not in ("from", "value")}
    return {"role": _SHAREGPT_ROLES.get(role, role) if isinstance(role, str) else role, "content": content, **others}


def _paired(row: Row, columns: Columns) -> tuple[str, Any, list[str]]:
    """Return the shape, the messages and the columns used of a row that has a question and an answer."""
    questions = [columns.question] if columns.question else _candidates(row, QUESTION_COLUMNS)
    answers = [columns.answer] if columns.answer else _candidates(row, ANSWER_COLUMNS)
    if len(questions) == 2 and all(map(_is_named, questions, _ALPACA)) and len(answers) == 1:
        parts = [_text(row[name], name) or "" for name in questions]
        question = "\n\n".join(part for part in parts if part.strip())
        messages = _turn(question, _text(_value(row, answers[0]), answers[0]))
        return f"Alpaca: question = {' + '.join(questions)}, answer = {answers[0]}", messages, [*questions, *answers]
    for role, names in (("question", questions), ("answer", answers)):
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names)} may both be the {role}: {_remedy(row, questions, answers)}")
    if not questions or not answers:
        raise ValueError(f"the row has no shape that is known: {_remedy(row, questions, answers)}")
    if _is_named(answers[0], "completion") and row.get("label") is False:
        raise ValueError("label is false: the completion is marked as one not to learn from")
    question, answer = _value(row, questions[0]), _value(row, answers[0])
    used = [*questions, *answers]
    if _is_messages(question) and _is_messages(answer):
        prompt, completion = (_parsed(part, name) for part, name in zip((question, answer), used, strict=True))
        _, messages = _unified([*prompt, *completion], questions[0])
        return f"TRL: {used[0]} and {used[1]}, lists of messages", messages, used
    messages = _turn(_text(question, questions[0]), _text(answer, answers[0]))
    return f"pairs: question = {questions[0]}, answer = {answers[0]}", messages, used


def _with_history(row: Row, shape: str, messages: Any, used: list[str]) -> tuple[str, Any, list[str]]:
    """Put the turns of the row's history before its own; they are read and not learnt, for other rows answer them."""
    if _is_messages(_value(row, used[0])):
        return shape, messages, used
    for column in _candidates(row, HISTORY_COLUMNS):
        history = row[column]
        if isinstance(history, str) and history.lstrip().startswith("["):
            history = _parsed(history, column)
        if not history:
            continue
        try:
            earlier = _earlier(history, column)
        except ValueError:
            if _is_named(column, HISTORY_COLUMNS[0]) or any(map(_looks_like_a_turn, history)):
                raise
            shape = f"{shape}, {column} read as no turns"  # the history of something else
            continue
        return f"{shape}, turns before it = {column}", [*earlier, *messages], [*used, column]
    return shape, messages, used


def _looks_like_a_turn(turn: Any) -> bool:
    if isinstance(turn, dict):
        return bool({"inputs", "outputs"} & turn.keys() or _candidates(turn, (*QUESTION_COLUMNS, *ANSWER_COLUMNS)))
    return isinstance(turn, list)


def _earlier(history: Any, column: str) -> list[Any]:
    """Return the messages of a history: messages, Prompt flow's inputs and outputs, objects or pairs of two texts.

    Raises ValueError where it is none of them.
    """
    if _is_messages(history):
        _, messages = _unified(history, column)
        return [{**m, "weight": 0} if _role(m) == "assistant" else m for m in messages]
    if not isinstance(history, list):
        raise ValueError(f"{column} is no list of turns: {shorten(json.dumps(history))}")
    messages = []
    for number, turn in enumerate(history, start=1):
        match turn:
            case {"inputs": dict(inputs), "outputs": dict(outputs)}:
                pass
            case [inputs, outputs] if isinstance(inputs, str) and isinstance(outputs, str):
                inputs, outputs = {"question": inputs}, {"answer": outputs}
            case dict() if _candidates(turn, QUESTION_COLUMNS) and _candidates(turn, ANSWER_COLUMNS):
                inputs = outputs = turn
            case _:
                raise ValueError(f"{column}: turn {number} is no question and answer: {shorten(json.dumps(turn))}")
        question = _of_turn(inputs, QUESTION_COLUMNS, f"{column}: turn {number}: the question")
        answer = _of_turn(outputs, ANSWER_COLUMNS, f"{column}: turn {number}: the answer")
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer, "weight": 0}]
    return messages


def _of_turn(fields: Row, names: Sequence[str], what: str) -> str | None:
    columns = _candidates(fields, names) or ([*fields] if len(fields) == 1 else [])
    if len(columns) != 1:
        raise ValueError(f"{what} is not known: the fields are {_listed_names(fields)}")
    return _text(fields[columns[0]], f"{what}, {columns[0]},")


def _turn(question: str | None, answer: str | None) -> list[Row]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _candidates(row: Row, names: Sequence[str]) -> list[str]:
    """Return the columns of these names, by the order of the names; of those only that hold something, if any does."""
    columns = [column for name in names for column in row if _is_named(column, name)]
    return [column for column in columns if row[column] is not None] or columns


def _is_named(column: str, name: str) -> bool:
    """Whether a column has the letters of a name: Ground Truth and groundTruth are ground_truth."""
    return letters(column) == letters(name)


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, dict) else None


def _value(row: Row, column: str) -> Any:
    """Return what stands in a column, or in a field below it. Raises ValueError where there is neither."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise ValueError(f"there is no column {column}: {_listed(row)}")
    return value


def _text(value: Any, column: str) -> str | None:
    """Return a text, or a number and a truth value as the file writes them. Raises ValueError for anything else."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, WrittenFloat):
        return value.written
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    raise ValueError(f"{column} must be a text or a number: {shorten(json.dumps(value, ensure_ascii=False))}")


def _remedy(row: Row, questions: Sequence[str], answers: Sequence[str]) -> str:
    """Say which columns there are, and the flag to type: with the likeliest, or NAME where nothing suggests itself."""
    free = [path for path in _texts(row) if path not in (*questions[:1], *answers[:1])]
    answer = answers[0] if answers else _likeliest(free, ANSWER_COLUMNS)
    free = [path for path in free if path != answer]
    question = questions[0] if questions else _likeliest(free, QUESTION_COLUMNS) or next(iter(free), None)
    answer = answer or next((path for path in free if path != question), None)
    flag = f"--columns question={shlex.quote(question or 'NAME')} answer={shlex.quote(answer or 'NAME')}"
    return f"{_listed(row)}; say which are meant: {flag}"


def _likeliest(paths: Sequence[str], names: Sequence[str]) -> str | None:
    return next((path for name in names for path in paths if letters(name) in letters(path)), None)


def _texts(row: Row) -> Iterator[str]:
    """Yield the paths of texts, and of the first where there is a list of them."""
    for path, value in _leaves(row):
        if isinstance(value, str):
            yield path
        elif isinstance(value, list) and value and isinstance(value[0], str):
            yield f"{path}.0"


def _listed(row: Row) -> str:
    return f"the columns are {_listed_names(row)}"


def _listed_names(row: Row) -> str:
    return shorten(", ".join(path for path, _ in _leaves(row)), _SHOWN_COLUMNS) or "none"


def _leaves(row: Row, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the columns, and the fields of objects by their paths."""
    for name, value in row.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value
