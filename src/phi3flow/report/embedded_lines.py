"""The lines as the page carries them: columns of JSON, with a bound on their size.

Columns (one array a field, all in the same order) are a third smaller than one object a line, and the page
sorts and filters indices.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypedDict

from phi3flow.comparison.slices import slice_rows
from phi3flow.records.lines import LineResult
from phi3flow.records.runs import Manifest
from phi3flow.report.bounded_texts import Cut, Text, cutter, size, text_limit
from phi3flow.report.embedded_traces import RunTraces, embed_traces
from phi3flow.report.pictures import Pictures
from phi3flow.report.run_view import RunView, answer, history, question, texts
from phi3flow.runs.conversations import conversation_name
from phi3flow.storage.jsonl import Row

BUDGET_BYTES = 4_600_000
_HASH = re.compile(r"^([0-9a-f]{12})[0-9a-f]{52}(#\d+)?$")


class LineColumns(TypedDict):
    """What the lines of all runs were asked, an entry a line.

    ``rest`` is what ``id`` leaves out of a line's id; a turn of its ``history`` is [role, text]; ``pictures`` are by
    the line's index, numbers of the page's.
    """

    id: list[str]
    rest: list[str]
    conversation: list[int | None]
    number: list[int]
    question: list[Text]
    history: list[list[list[Text]]]
    context: list[list[Text]]
    truths: list[list[Text]]
    values: list[list[str]]
    pictures: dict[str, list[int]]


class RunColumns(TypedDict):
    """What one run answered; ``answer`` and ``error`` (type, message, status) are both None where it lacks a line.

    ``tokens`` are those of the prompt and of the completion; ``score_errors`` are by the line's index; ``texts`` are
    what an evaluation said of the line in words, ``traces`` what its nodes did.
    """

    name: str
    answer: list[Text | None]
    error: list[list[Text | int | None] | None]
    ms: list[float | None]
    attempts: list[int]
    tokens: list[list[int] | None]
    scores: dict[str, list[float | int | None]]
    score_errors: dict[str, list[Text]]
    texts: dict[str, list[Text | None]]
    pictures: dict[str, list[int]]
    traces: RunTraces


class SliceColumn(TypedDict):
    """The slices of a column of the data: ``of`` has the index of each line's value in ``values``, or None."""

    column: str
    values: list[str]
    of: list[int | None]


class Columns(TypedDict):
    """The lines that any of the runs has: what all have in common, how they are sliced, and what each run answered."""

    lines: LineColumns
    slices: list[SliceColumn]
    runs: list[RunColumns]


class EmbeddedLines(Columns):
    """The columns, the number of characters beyond which their texts are cut, and the pictures as data URIs.

    Of ``traces_left_out`` lines the traces would have made the file too large.
    """

    text_limit: int
    traces_left_out: int
    pictures: list[str]


def embed(runs: Sequence[RunView], *, by: Sequence[str] = ()) -> EmbeddedLines:
    """Return the lines of ``runs`` for the page's script, with a slice column for each data column of ``by``.

    The limit of texts is 20,000 characters, and less (never below 100) where all this would pass 4.6 MB; traces have
    the room that is left.
    """
    without_texts = size(_columns(runs, lambda _: "", by, Pictures()))
    limit = text_limit(_texts(runs), BUDGET_BYTES - without_texts)
    pictures = Pictures()
    columns = _columns(runs, cutter(limit), by, pictures)
    traces, left_out = embed_traces(runs, list(_union(runs)), BUDGET_BYTES - size(columns))
    for run, own in zip(columns["runs"], traces, strict=True):
        run["traces"] = own
    return {"text_limit": limit, "traces_left_out": left_out, "pictures": pictures.uris, **columns}


def short_ids(line_ids: Sequence[str]) -> list[str]:
    """Return the ids for people and links: a hash's first 12 characters where that names one line only."""
    short = [_HASH.sub(r"\1\2", line_id) for line_id in line_ids]
    return short if len(set(short)) == len(short) else list(line_ids)


def rest_of_ids(line_ids: Sequence[str]) -> list[str]:
    """Return what ``short_ids`` left out of each id, which an export needs."""
    return [
        "" if short == line_id else line_id.partition("#")[0][12:]
        for short, line_id in zip(short_ids(line_ids), line_ids, strict=True)
    ]


def _columns(runs: Sequence[RunView], cut: Cut, by: Sequence[str], pictures: Pictures) -> Columns:
    lines = _union(runs)
    rows = _rows(runs)
    return {
        "lines": _line_columns(lines, runs, rows, cut, pictures),
        "slices": [_slice_column(list(lines), rows, column) for column in by if rows],
        "runs": [_run_columns(run, list(lines), cut, pictures) for run in runs],
    }


def _rows(runs: Sequence[RunView]) -> dict[str, Row]:
    """Return the rows of the data by line_id, as the first run has them whose data is there."""
    return {line_id: row for run in reversed(runs) for line_id, row in run.rows.items()}


def _slice_column(line_ids: Sequence[str], rows: dict[str, Row], column: str) -> SliceColumn:
    sliced = [line_id for line_id in line_ids if line_id in rows]
    slices = slice_rows([rows[line_id] for line_id in sliced], column)
    index = {sliced[position]: number for number, line_slice in enumerate(slices) for position in line_slice.positions}
    return {
        "column": column,
        "values": [line_slice.value for line_slice in slices],
        "of": [index.get(line_id) for line_id in line_ids],
    }


def _conversations(lines: Iterable[LineResult], data: Sequence[Row], manifest: Manifest) -> list[int | None]:
    """Return the number of each line's conversation; None for a line that is the only one of its own.

    Where lines ran repeatedly, so did conversations, each for itself.
    """
    names = [conversation_name(row) for row in data]
    repeats = [line.line_number // manifest.lines if manifest.repeats > 1 else 0 for line in lines]
    keys = [None if name is None else f"{repeat} {name}" for repeat, name in zip(repeats, names, strict=True)]
    shared = [key for key, count in Counter(keys).items() if key is not None and count > 1]
    numbers = {key: number for number, key in enumerate(shared)}
    return [None if key is None else numbers.get(key) for key in keys]


def _union(runs: Sequence[RunView]) -> dict[str, LineResult]:
    """Return each line once, as the first run that has it holds it, in the order of the data."""
    lines: dict[str, LineResult] = {}
    for run in runs:
        for line_id, line in run.results.items():
            lines.setdefault(line_id, line)
    return lines


def _line_columns(
    lines: dict[str, LineResult], runs: Sequence[RunView], rows: dict[str, Row], cut: Cut, pictures: Pictures
) -> LineColumns:
    data = [rows.get(line_id, {}) for line_id in lines]
    return {
        "id": short_ids(list(lines)),
        "rest": rest_of_ids(list(lines)),
        "conversation": _conversations(lines.values(), data, runs[0].manifest),
        "number": [line.line_number for line in lines.values()],
        "question": [cut(question(line)) for line in lines.values()],
        "history": [[[role, cut(text)] for role, text in history(line)] for line in lines.values()],
        "context": [[cut(text) for text in texts(row.get("context"))] for row in data],
        "truths": [[cut(text) for text in texts(row.get("ground_truth"))] for row in data],
        "values": [texts(row.get("values")) for row in data],
        "pictures": _by_index(pictures.of_inputs(_first_with(line_id, runs), line) for line_id, line in lines.items()),
    }


def _first_with(line_id: str, runs: Sequence[RunView]) -> RunView:
    return next(run for run in runs if line_id in run.results)


def _by_index(pictures: Iterable[list[int]]) -> dict[str, list[int]]:
    """Return what lines have of pictures, by their index, without those that have none."""
    return {str(index): numbers for index, numbers in enumerate(pictures) if numbers}


def _run_columns(run: RunView, line_ids: Sequence[str], cut: Cut, pictures: Pictures) -> RunColumns:
    lines = [run.results.get(line_id) for line_id in line_ids]
    completed = [line if line and not line.error else None for line in lines]
    return {
        "name": run.name,
        "answer": [cut(answer(line)) if line else None for line in completed],
        "error": [_error(line, cut) if line else None for line in lines],
        "ms": [_significant(line.latency_ms, 4) if line else None for line in lines],
        "attempts": [line.attempts if line else 0 for line in lines],
        "tokens": [
            [line.usage.prompt_tokens, line.usage.completion_tokens] if line and line.usage else None for line in lines
        ],
        "scores": {
            metric: [_rounded(scores.get(line_id)) for line_id in line_ids] for metric, scores in run.scores.items()
        },
        "score_errors": {
            str(index): [cut(error) for error in run.score_errors[line_id]]
            for index, line_id in enumerate(line_ids)
            if line_id in run.score_errors
        },
        "texts": {
            name: [cut(by_line[line_id]) if line_id in by_line else None for line_id in line_ids]
            for name, by_line in run.line_texts.items()
        },
        "pictures": _by_index(pictures.of_answer(run, line) if line else [] for line in completed),
        "traces": {},
    }


def _error(line: LineResult, cut: Cut) -> list[Text | int | None] | None:
    return [line.error.type, cut(line.error.message), line.error.status_code] if line.error else None


def _significant(value: float | None, digits: int) -> float | None:
    return None if value is None else float(f"{value:.{digits}g}")


def _rounded(score: float | None) -> float | int | None:
    """Return six significant digits, and whole numbers without their ".0": a third of the file is scores."""
    rounded = _significant(score, 6)
    return int(rounded) if rounded is not None and rounded.is_integer() else rounded


def _texts(runs: Sequence[RunView]) -> list[str]:
    """Return every text that ``embed`` would carry."""
    lines = _union(runs)
    carried = [question(line) for line in lines.values()]
    carried += [text for line in lines.values() for _, text in history(line)]
    for run in runs:
        carried += [line.error.message if line.error else answer(line) for line in run.results.values()]
        carried += [text for errors in run.score_errors.values() for text in errors]
        carried += [text for by_line in run.line_texts.values() for text in by_line.values()]
    columns = ("context", "ground_truth")
    return carried + [text for row in _rows(runs).values() for name in columns for text in texts(row.get(name))]
