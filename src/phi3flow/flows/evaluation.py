"""An evaluation flow over one line: the inputs that it gets, its execution, the scores and counts that come out.

Scoring, its processes and early stopping all execute evaluation flows here, so that a line has one score.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phi3flow.errors import ColumnMappingError, FlowError
from phi3flow.flows.column_mapping import complete_mapping, map_line
from phi3flow.flows.definition import Flow
from phi3flow.flows.inputs import FlowInput
from phi3flow.flows.numbers import as_number
from phi3flow.flows.observed import ObservedLine
from phi3flow.flows.session import FlowLine, FlowSession
from phi3flow.records.images import image_paths, located
from phi3flow.records.lines import LineError, LineResult
from phi3flow.records.scores import LineScore, ScoreRange
from phi3flow.text import cut

_COUNTS = "_statistics"
_FAILURES = "failures"
_ABSENT = "absent"
_LARGEST = 1e100
_HISTORY = "chat_history"
_REQUESTS_TAG = "requests_per_line"
_OUTPUTS = "${run.outputs."
_EMPTY: Mapping[str, Callable[[], Any]] = {"list": list, "object": dict, "int": int, "double": float, "bool": bool}
_LONGEST_TEXT = 4_000
_PLAIN = frozenset((int, float))
_ROUNDING = 1e-9  # of the range: sacrebleu's BLEU of a perfect answer is 100.00000000000004
_UNIT: ScoreRange = (0.0, 1.0)  # what a score is of where the flow says nothing else


@dataclass(frozen=True)
class AnsweredLine:
    """A line that completed in a run, or stands in for one that did not, and its row of the data."""

    result: LineResult
    row: Mapping[str, Any]

    def located(self, data: Path, run: Path) -> AnsweredLine:
        """Return the line with absolute paths of images: those of an answer are in the run's folder."""
        result = self.result
        if not any(image_paths([result.outputs, result.inputs, self.row])):
            return self
        places = {"outputs": located(result.outputs, run), "inputs": located(result.inputs, data)}
        return AnsweredLine(result.model_copy(update=places), located(self.row, data))


@dataclass(frozen=True)
class Execution:
    """One execution of the flow on a line: its inputs, what it gave, and what of that are scores, failures and texts.

    ``failures`` say why a metric that applies to the line has no score, ``absent`` why there is no such metric at all.
    """

    inputs: dict[str, Any]
    line: FlowLine
    scores: dict[str, float | None]
    failures: dict[str, str]
    texts: dict[str, str]
    absent: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Logged:
    """What an aggregation logged: its numbers, and what is none, as text."""

    numbers: dict[str, float] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)


class Evaluator:
    """Executes an open evaluation flow on lines, whose inputs a complete ``mapping`` gives.

    ``redact`` cuts secrets out of the texts that the flow gives.
    """

    def __init__(self, session: FlowSession, mapping: Mapping[str, Any], *, redact: Callable[[str], str]) -> None:
        self.session = session
        self._mapping = mapping
        self._redact = redact
        self._inputs = session.flow.inputs
        self._optional = session.flow.optional_inputs
        self._ranges = session.flow.score_ranges

    async def execute(
        self, line: AnsweredLine, *, timeout_s: float | None = None, observed: ObservedLine | None = None
    ) -> Execution:
        """Execute the flow on a line, which ``observed`` sees.

        Raises what its tool raises, ColumnMappingError for a column that the line lacks, TimeoutError, FlowError for a
        score that is NaN, infinite, or outside of its metric's range.
        """
        inputs = self.inputs(line)
        number = line.result.line_number
        observed = observed or ObservedLine()
        flow_line = await self.session.exec_line(inputs, line_number=number, timeout_s=timeout_s, observed=observed)
        scores = read_scores(flow_line.outputs, self._ranges)
        failures = {name: self._text(reason) for name, reason in _read_failures(flow_line.outputs, scores).items()}
        texts = {name: self._text(text) for name, text in _read_texts(flow_line.outputs)}
        absent = {name: self._text(reason) for name, reason in _read_absent(flow_line.outputs, scores).items()}
        return Execution(inputs, flow_line, scores, failures, texts, absent)

    def inputs(self, line: AnsweredLine) -> dict[str, Any]:
        """Return what the flow is given for a line. Raises ColumnMappingError for a column that the line lacks."""
        result = line.result
        sources = {"run.outputs": result.outputs or {}, "data": line.row, "run.inputs": result.inputs}
        return evaluation_inputs(self._mapping, sources, self._inputs, optional=self._optional)

    def _text(self, text: str) -> str:
        return _bounded(self._redact(text))


def line_score(result: LineResult, execution: Execution) -> LineScore:
    """Return the line of scores.jsonl that one execution gives a line."""
    return LineScore(
        line_number=result.line_number,
        line_id=result.line_id,
        status="Completed",
        scores=execution.scores,
        counts=read_counts(execution.line.aggregation_inputs),
        failures=execution.failures,
        absent=execution.absent,
        texts=execution.texts,
    )


def unscored(result: LineResult, error: LineError | None) -> LineScore:
    """Return the line of scores.jsonl of a line that has no score, and why."""
    answered = result.status == "Completed"
    return LineScore(
        line_number=result.line_number, line_id=result.line_id, status="Failed", answered=answered, error=error
    )


def empty_answer(result: LineResult, row: Mapping[str, Any], mapping: Mapping[str, Any], flow: Flow) -> AnsweredLine:
    """Return the line as if its run had answered nothing: what an input takes of its outputs is the type's empty value.

    What the flow gives for it says which metrics apply to the line's row.
    """
    outputs = {
        str(value)[len(_OUTPUTS) : -1]: _EMPTY.get(flow.inputs[name].type, str)()
        for name, value in mapping.items()
        if str(value).startswith(_OUTPUTS)
    }
    return AnsweredLine(result.model_copy(update={"status": "Completed", "outputs": outputs, "error": None}), row)


def asks_endpoint(session: FlowSession) -> bool:
    """Whether executing the flow asks an endpoint, as far as it says so: by its connections, or by its tag."""
    return bool(session.used_connections or requests_per_line(session.flow))


def complete_evaluation(
    flow: Flow,
    columns: Mapping[str, Iterable[str]],
    *,
    where: str,
    mapping: Mapping[str, Any] = MappingProxyType({}),
    own_history: bool = False,
) -> dict[str, Any]:
    """Return the mapping of a flow's inputs with those added that have a column of their own name.

    ``columns`` are the names of run.outputs, data and run.inputs; an unnamed input is looked up in that order.
    ``own_history``: the run had the model's own earlier answers as its history, so that the run's inputs have the
    history, not the data. Raises ColumnMappingError, also where nothing of the run's outputs would be scored.
    """
    names = {source: list(column_names) for source, column_names in columns.items()}
    if own_history and _HISTORY in flow.inputs and _HISTORY in names["run.inputs"]:
        mapping = {_HISTORY: f"${{run.inputs.{_HISTORY}}}", **mapping}
    complete = complete_mapping(mapping, inputs=flow.inputs, columns=names, where=where)
    if not any(str(value).startswith(_OUTPUTS) for value in complete.values()):
        outputs = ", ".join(names["run.outputs"]) or "none"
        raise ColumnMappingError(
            f"{where}: no input takes an output of the run (they are: {outputs}), so nothing of it would be scored. "
            "Add --column-mapping answer='${run.outputs.OUTPUT}'"
        )
    return complete


def input_defaults(flow_inputs: Mapping[str, FlowInput]) -> dict[str, Any]:
    """Return the inputs that have a default, with it, but for those that Python knows better; a chat begins empty."""
    defaults = {name: declared.default for name, declared in flow_inputs.items() if declared.default is not None}
    histories: dict[str, Any] = {name: [] for name, declared in flow_inputs.items() if declared.is_chat_history}
    return histories | defaults


def evaluation_inputs(
    mapping: Mapping[str, Any],
    sources: Mapping[str, Mapping[str, Any]],
    flow_inputs: Mapping[str, FlowInput],
    *,
    optional: Set[str],
) -> dict[str, Any]:
    """Return the inputs that a complete mapping gives a line; a null takes the input's default.

    ``optional`` are the flow's ``optional_inputs``. Raises ColumnMappingError where a null has none, or one that is a
    sample: promptflow would turn it into the text "None", and score that.
    """
    mapped = map_line(mapping, sources, optional=optional)
    inputs = {name: value for name, value in mapped.items() if value is not None}
    for name in mapped.keys() - inputs.keys() - optional:
        raise ColumnMappingError(f"{name} is null in this line ({mapping[name]})")
    return {**input_defaults(flow_inputs), **inputs}


def read_scores(
    outputs: Mapping[str, Any], ranges: Mapping[str, ScoreRange] = MappingProxyType({})
) -> dict[str, float | None]:
    """Return the outputs that are scores: numbers of any library, truth values, and nulls; others are left out.

    What lies outside of its range by the rounding of floats is the range's end.
    Raises FlowError for NaN and infinity, which are neither a score nor the absence of one, for what is so large that
    its square is no number, and for a score outside of the metric's range.
    """
    scores: dict[str, float | None] = {}
    for name, value in outputs.items():
        low, high = ranges.get(name, _UNIT)
        if value is None or (type(value) is float and low <= value <= high):
            scores[name] = value
        elif (number := as_number(value)) is not None:
            if not math.isfinite(number) or abs(number) > _LARGEST:
                raise FlowError(f"the evaluation flow's output {name} is {number:g}")
            scores[name] = _within_range(name, number, ranges)
    return scores


def _within_range(name: str, value: float, ranges: Mapping[str, ScoreRange]) -> float:
    """Return a score without the rounding by which it lies outside of its range."""
    low, high = ranges.get(name, _UNIT)
    clipped = min(max(value, low), high)
    if abs(value - clipped) <= _ROUNDING * (high - low):
        return clipped
    if name in ranges:
        raise FlowError(f"the evaluation flow's output {name} is {value:g}, outside of {low:g}..{high:g}")
    return value


def read_logged(values: Mapping[str, Any], *, redact: Callable[[str], str]) -> Logged:
    """Return what an aggregation logged, as pf keeps it: numbers, texts, and what else JSON knows as its text."""
    numbers: dict[str, float] = {}
    texts: dict[str, str] = {}
    for name, value in values.items():
        number = as_number(value)
        if number is not None:
            numbers[name] = number
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            texts[name] = _bounded(redact(text))
    return Logged(numbers, texts)


def read_counts(aggregation_inputs: Mapping[str, Any]) -> dict[str, list[float]]:
    """Return the lists of numbers among what the aggregation will want, by their names without ``_statistics``."""
    values = [value for value in aggregation_inputs.values() if isinstance(value, dict)]
    lists = {
        name.removesuffix(_COUNTS): _as_numbers(counts)
        for value in values
        for name, counts in value.items()
        if name.endswith(_COUNTS) and isinstance(counts, list)
    }
    return {name: numbers for name, numbers in lists.items() if numbers is not None}


def _as_numbers(counts: list[Any]) -> list[float] | None:
    """Return a list of numbers as floats, None where it holds something else."""
    if _PLAIN.issuperset(map(type, counts)):
        return list(map(float, counts))
    numbers = [as_number(count) for count in counts]
    return None if None in numbers else [number for number in numbers if number is not None]


def _bounded(text: str) -> str:
    """Return a text that a record can hold: of bounded length, and without halves of surrogate pairs."""
    return cut(text, _LONGEST_TEXT).encode("utf-8", "replace").decode()


def requests_per_line(flow: Flow) -> int:
    """Return the most requests that the flow says it makes for a line: its tag ``requests_per_line``, else 0.

    Raises FlowError where the tag is not a number of at least 1.
    """
    value = (flow.definition.get("tags") or {}).get(_REQUESTS_TAG)
    if value is None:
        return 0
    if not str(value).isdigit() or int(value) < 1:
        raise FlowError(f"{flow.folder / flow.file}: the tag {_REQUESTS_TAG} is {value!r}, not a number of at least 1")
    return int(value)


def _read_texts(outputs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the outputs that are texts, and as JSON those that are neither a score nor the reason why there is none."""
    for name, value in outputs.items():
        if isinstance(value, str):
            yield name, value
        elif value is not None and name not in (_FAILURES, _ABSENT) and as_number(value) is None:
            yield name, json.dumps(value, ensure_ascii=False, default=str)


def _read_failures(outputs: Mapping[str, Any], scores: Mapping[str, float | None]) -> dict[str, str]:
    """Return why metrics that apply to the line have no score: the flow's output ``failures``, {metric: reason}."""
    failures = outputs.get(_FAILURES)
    if not isinstance(failures, Mapping):
        return {}
    return {name: str(reason) for name, reason in failures.items() if name in scores and scores[name] is None}


def _read_absent(outputs: Mapping[str, Any], scores: Mapping[str, float | None]) -> dict[str, str]:
    """Return why there are no such metrics here, whatever the line: the flow's output ``absent``, {metric: reason}."""
    absent = outputs.get(_ABSENT)
    if not isinstance(absent, Mapping):
        return {}
    return {str(name): str(reason) for name, reason in absent.items() if scores.get(str(name)) is None}
