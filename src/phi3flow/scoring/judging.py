"""Judges: who gave a score, and which of two runs' answers a judge prefers.

Judges favour a position (Zheng et al. 2023, arXiv 2306.05685, section 3.4), so each pair is judged in both orders.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from phi3flow.connections.known import describe_use
from phi3flow.errors import ColumnMappingError, ConfigError, FlowError
from phi3flow.flows import SINGLE_ATTEMPTS, ConnectionSource, Flow, FlowLine, FlowSession, open_flow
from phi3flow.flows.column_mapping import complete_mapping
from phi3flow.flows.evaluation import evaluation_inputs
from phi3flow.pacing.calls import EndpointCalls
from phi3flow.pacing.failures import Failure
from phi3flow.pacing.limits import NO_LIMITS, Limits
from phi3flow.records.comparisons import Difference, Preferences
from phi3flow.records.lines import LineResult
from phi3flow.records.scores import Agreement, Judging
from phi3flow.runs.conversations import cluster_labels
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import compare_pairs
from phi3flow.workers.usage import line_usage, total_tokens

_PREFERRED = {"first": -1, "tie": 0, "second": 1}

Order = Literal[0, 1]
"""0: the baseline's answer is shown first; 1: the candidate's."""


def judge_pairs(
    baseline: RunFolder,
    candidate: RunFolder,
    *,
    flow: Flow,
    connections: ConnectionSource,
    output: str = "answer",
    pairs: Sequence[tuple[int, int]] | None = None,
    limits: Limits = NO_LIMITS,
    seed: int = 0,
    on_pair: Callable[[], None] = lambda: None,
) -> Preferences:
    """Have the judge of ``flow`` (flows/eval/answer_preference) prefer one run's answers, pair by pair.

    ``pairs`` are line numbers (baseline's, candidate's); by default the lines that share a line_id. A candidate wins
    where it is preferred in both orders; a verdict that flips with the order, or is a tie once, is a tie. Equal answers
    are a tie and are not judged. The interval is of the mean of win 1, tie 0, loss -1; p is the sign test's,
    by conversation where lines share one.

    Raises ConfigError where no line is common or ``output`` is none of both runs', ColumnMappingError where the flow
    wants an input that the data lacks, FlowError, EndpointError where the judge stays down.
    """
    rows = baseline.data_rows()
    judged = _join(baseline, candidate, rows, pairs, output)
    unlike = [pair for pair in judged if pair.answers[0] != pair.answers[1]]
    judging = None
    if unlike:
        with open_flow(flow, connections=connections, environment=SINGLE_ATTEMPTS) as session:
            judge = _PairJudge(session, _map_inputs(flow, unlike), limits, on_pair)
            asyncio.run(judge.run(unlike))
            judging = describe_judging(session, [line.outputs for pair in unlike for line in pair.lines.values()])
    preferences = _count(baseline.name, candidate.name, judged, cluster_labels(rows), seed)
    return preferences.model_copy(update={"judging": judging})


def describe_judging(
    session: FlowSession,
    outputs: Iterable[Mapping[str, Any]],
    *,
    repeats: int = 1,
    agreement: Mapping[str, Agreement] | None = None,
) -> Judging | None:
    """Return who gave the scores, as the flow's output ``judge`` says; None for a flow that asks nobody."""
    judges = [judge for output in outputs if isinstance(judge := output.get("judge"), Mapping)]
    uses = [describe_use(name, connection) for name, connection in session.used_connections.items()]
    if not judges and not uses and repeats == 1:
        return None
    return Judging(
        connections=uses,
        model=next((str(judge["model"]) for judge in judges if "model" in judge), None),
        answered_as=sorted({str(name) for judge in judges for name in judge.get("answered_as") or ()}),
        package=next((str(judge["package"]) for judge in judges if "package" in judge), None),
        prompts={str(name): str(sha256) for judge in judges for name, sha256 in (judge.get("prompts") or {}).items()},
        repeats=repeats,
        agreement=dict(agreement or {}),
    )


@dataclass
class _Pair:
    """Two answers to one line, and what the judge said in each order."""

    baseline: LineResult
    candidate: LineResult
    row: Mapping[str, Any]
    output: str
    lines: dict[Order, FlowLine] = field(default_factory=dict)
    failures: dict[Order, Failure] = field(default_factory=dict)

    @property
    def answers(self) -> tuple[str, str]:
        """The baseline's and the candidate's answer."""
        return self._answer(self.baseline), self._answer(self.candidate)

    @property
    def verdicts(self) -> tuple[int, ...]:
        """In each order that has a verdict: 1 for the candidate, -1 for the baseline, 0 for neither."""
        if self.answers[0] == self.answers[1]:
            return 0, 0
        preferred = {order: _PREFERRED[line.outputs["preference"]] for order, line in self.lines.items()}
        return tuple(value if order == 0 else -value for order, value in preferred.items())

    def _answer(self, result: LineResult) -> str:
        outputs = result.outputs or {}
        if self.output not in outputs:
            raise ConfigError(f"line {result.line_number} has no output {self.output!r}, but {', '.join(outputs)}")
        return str(outputs[self.output])


class _PairJudge:
    """Asks for each pair in both orders."""

    def __init__(
        self, session: FlowSession, mapping: Mapping[str, Any], limits: Limits, on_pair: Callable[[], None]
    ) -> None:
        self._session = session
        self._mapping = mapping
        self._limits = limits
        self._on_pair = on_pair

    async def run(self, pairs: Sequence[_Pair]) -> None:
        orders: tuple[Order, Order] = (0, 1)
        calls = EndpointCalls(self._ask, self._ended, limits=self._limits, tokens=_tokens)
        await calls.run([(pair, order) for pair in pairs for order in orders])

    async def _ask(self, question: tuple[_Pair, Order]) -> FlowLine:
        pair, order = question
        flow, sources = self._session.flow, {"data": pair.row, "run.inputs": pair.baseline.inputs}
        inputs = evaluation_inputs(self._mapping, sources, flow.inputs, optional=flow.optional_inputs)
        inputs["first"], inputs["second"] = pair.answers if order == 0 else pair.answers[::-1]
        number = pair.baseline.line_number
        line = await self._session.exec_line(inputs, line_number=number, timeout_s=self._limits.timeout_s)
        if line.outputs.get("preference") not in _PREFERRED:
            flow = self._session.flow
            raise FlowError(
                f"{flow.folder}: its output preference is {line.outputs.get('preference')!r}, not first, second or tie"
            )
        return line

    def _ended(self, question: tuple[_Pair, Order], outcome: FlowLine | Failure) -> None:
        pair, order = question
        if isinstance(outcome, Failure):
            pair.failures[order] = outcome
        else:
            pair.lines[order] = outcome
        if len(pair.lines) + len(pair.failures) == 2:
            self._on_pair()


def _join(
    baseline: RunFolder,
    candidate: RunFolder,
    rows: Sequence[Mapping[str, Any]],
    pairs: Sequence[tuple[int, int]] | None,
    output: str,
) -> list[_Pair]:
    """Return the pairs of lines that both runs completed."""
    left, right = (
        {result.line_number: result for result in run.results() if result.status == "Completed"}
        for run in (baseline, candidate)
    )
    if pairs is None:
        numbers = {result.line_id: number for number, result in right.items()}
        pairs = [(number, numbers[line.line_id]) for number, line in left.items() if line.line_id in numbers]
    common = [_Pair(left[n], right[m], rows[n], output) for n, m in pairs if n in left and m in right]
    if not common:
        raise ConfigError(f"{baseline.name} and {candidate.name} completed no line in common: nothing can be judged")
    return common


def _map_inputs(flow: Flow, pairs: Sequence[_Pair]) -> dict[str, Any]:
    if missing := {"first", "second"} - set(flow.inputs):
        raise ColumnMappingError(f"{flow.folder}: has no input {' or '.join(sorted(missing))}: it compares no answers")
    columns = {
        "data": list(dict.fromkeys(name for pair in pairs for name in pair.row)),
        "run.inputs": list(dict.fromkeys(name for pair in pairs for name in pair.baseline.inputs)),
    }
    inputs = {name: declared for name, declared in flow.inputs.items() if name not in ("first", "second")}
    return complete_mapping({}, inputs=inputs, columns=columns, where=str(flow.folder))


def _count(baseline: str, candidate: str, pairs: Sequence[_Pair], clusters: Sequence[str], seed: int) -> Preferences:
    judged = [pair for pair in pairs if len(pair.verdicts) == 2]
    scores = [pair.verdicts[0] if pair.verdicts[0] == pair.verdicts[1] else 0 for pair in judged]
    labels = [clusters[pair.baseline.line_number] for pair in judged]
    lost, won = [float(score < 0) for score in scores], [float(score > 0) for score in scores]
    comparison = compare_pairs(lost, won, rng=np.random.default_rng(seed), clusters=labels)
    decisive = [value for pair in pairs for value in _shown_first(pair)]
    failures = [failure for pair in pairs for failure in pair.failures.values()]
    return Preferences(
        baseline=baseline,
        candidate=candidate,
        n=len(judged),
        n_failed=len(pairs) - len(judged),
        wins=comparison.wins or 0,
        losses=comparison.losses or 0,
        ties=comparison.ties or 0,
        flipped=sum(pair.verdicts[0] * pair.verdicts[1] < 0 for pair in judged),
        first_share=sum(decisive) / len(decisive) if decisive else None,
        preference=Difference(mean=comparison.mean, low=comparison.low, high=comparison.high),
        p=comparison.p_permutation,
        failure=failures[0].error if failures else None,
    )


def _shown_first(pair: _Pair) -> list[bool]:
    """Return for each verdict that is no tie whether it went to the answer shown first."""
    preferences = [line.outputs["preference"] for line in pair.lines.values()]
    return [preference == "first" for preference in preferences if preference != "tie"]


def _tokens(line: FlowLine) -> int:
    return total_tokens(line_usage({}, line, None))
