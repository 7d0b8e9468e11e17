"""What a line that failed counts as: whether a metric applies to it, as its row says, and the worst end of its range.

A flow that asks no endpoint was executed on the row as if the answer were empty: a metric that gave a number applies.
Where that cannot be done, or is refuted by lines whose answer was scored, a metric applies that each answered line has;
one that some lack is decided by the input whose emptiness is exactly its absence. Else nobody can say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phi3flow.records.scores import LineScore, ScoreRange


@dataclass(frozen=True)
class Evidence:
    """What says which metrics apply to the lines that failed, in the run or in scoring; by line_number.

    ``empty`` are the scores of empty answers, on some lines with an answer too, where they are put to the test;
    ``inputs`` are what the line's row gives to the evaluation flow.
    """

    empty: Mapping[int, LineScore] = field(default_factory=dict)
    inputs: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)


def applies(score: LineScore, name: str) -> bool:
    """Whether a metric applies to a line, as the flow's own execution on it says."""
    return score.scores.get(name) is not None or name in score.failures


def count_failed(
    scores: Sequence[LineScore],
    evidence: Evidence,
    *,
    ranges: Mapping[str, ScoreRange | None],
    lower_is_better: Iterable[str],
) -> list[LineScore]:
    """Return the scores where each line that failed in the run says what it counts as, in each metric of ``ranges``.

    A line whose scoring failed says why in each metric that applies to it, and counts as nothing.
    """
    completed = [score for score in scores if score.status == "Completed"]
    if len(completed) == len(scores):
        return completed
    lower = set(lower_is_better)
    worst = {name: bounds and bounds[name in lower] for name, bounds in ranges.items()}
    decide = {name: _decision(name, completed, evidence) for name in ranges}
    return [score if score.status == "Completed" else _counted(score, worst, decide, evidence) for score in scores]


_Decision = Callable[[int], bool | None]


def _counted(
    score: LineScore, worst: Mapping[str, float | None], decide: Mapping[str, _Decision], evidence: Evidence
) -> LineScore:
    decided = {name: decide[name](score.line_number) for name in worst}
    relevant = [name for name, is_applied in decided.items() if is_applied is not False]
    if score.answered:
        reason = f"its scoring failed{f': {score.error.type}' if score.error else ''}"
        return score.model_copy(update={"failures": dict.fromkeys(relevant, reason)})
    counted_as = {name: worst[name] if decided[name] else None for name in relevant}
    empty = evidence.empty.get(score.line_number)
    return score.model_copy(update={"counted_as": counted_as, "counts": empty.counts if empty else {}})


def _decision(name: str, completed: Sequence[LineScore], evidence: Evidence) -> _Decision:
    """Return what says whether a metric applies to the row of a line; None where nobody can."""
    presence = {score.line_number: applies(score, name) for score in completed}
    executed = {number: applies(score, name) for number, score in evidence.empty.items() if score.status == "Completed"}
    is_refuted = any(executed[number] != presence[number] for number in executed.keys() & presence.keys())
    if is_refuted or not (presence or any(executed.values())):
        executed = {}
    inputs = _deciding_inputs(presence, evidence.inputs)
    is_on_all, is_on_none = (bool(presence) and set(presence.values()) == {is_on} for is_on in (True, False))

    def decide(number: int) -> bool | None:
        if number in executed:
            return executed[number]
        if is_on_all:
            return True
        decisions = {not _is_empty(evidence.inputs.get(number, {}).get(name)) for name in inputs}
        if len(decisions) == 1:
            return decisions.pop()
        return False if is_on_none and not decisions else None

    return decide


def _deciding_inputs(presence: Mapping[int, bool], inputs: Mapping[int, Mapping[str, Any]]) -> list[str]:
    """Return the inputs that are empty on exactly the lines that lack the metric."""
    if all(presence.values()):
        return []
    names = dict.fromkeys(name for number in presence for name in inputs.get(number, ()))
    return [
        name
        for name in names
        if all(_is_empty(inputs.get(number, {}).get(name)) != is_on for number, is_on in presence.items())
    ]


def _is_empty(value: object) -> bool:
    return value is None or value in ([], {}) or (isinstance(value, str) and not value.strip())
