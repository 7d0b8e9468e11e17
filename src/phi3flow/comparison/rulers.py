"""What measured two runs: the evaluations of both that are by one ruler, and how the others differ.

A ruler is known by the fingerprint of its evaluation flow, whatever folder of ``scores/`` it has. Two runs whose
scores are by different rulers are not compared: an evaluation flow that was edited in between is no better answer.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from phi3flow.errors import ConfigError, FlowError, RulerMismatchError
from phi3flow.flows import load_flow
from phi3flow.flows.inputs import FlowInput
from phi3flow.project.paths import ANSWER_MATCH
from phi3flow.records.scores import JudgeIdentity, LineScore, Ruler, RunMetrics
from phi3flow.runs.folder import RunFolder
from phi3flow.text import plural

_RUN_OUTPUT = re.compile(r"\$\{run\.outputs\.([^.}]+).*\}")
_SHORT = 8  # of a fingerprint, as in the names of folders


@dataclass(frozen=True)
class Measured:
    """A run's evaluation: the ``folder`` of its scores, and what was measured, by what."""

    run: RunFolder
    folder: str
    metrics: RunMetrics

    @property
    def ruler(self) -> Ruler | None:
        """What measured it; None for scores of the first builds."""
        return self.metrics.evaluation

    @property
    def flow(self) -> str:
        """The evaluation flow's folder, as a command in the working directory names it."""
        folder = Path(self.ruler.flow) if self.ruler else ANSWER_MATCH.parent / self.folder
        return (folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder).as_posix()

    def score_again(self, *flags: str) -> str:
        """Return the command that scores the run anew."""
        return shlex.join(["phi3flow", "score", self.run.name, "--flow", self.flow, *flags])

    def outdated(self, scores: Collection[LineScore]) -> str | None:
        """Return that lines were run after the scoring that gave these ``scores``, None where none was."""
        counts, answered = self.run.manifest.counts, sum(score.answered for score in scores)
        since = max(counts.completed - answered, counts.failed - (len(scores) - answered))
        if since <= 0:
            return None
        return (
            f"{plural(since, 'line')} of run {self.run.name} {'was' if since == 1 else 'were'} run after "
            f"{self.folder} scored it: {self.score_again()}"
        )


@dataclass(frozen=True)
class Match:
    """The evaluations of a baseline and of a candidate by one flow, under the ``name`` that its metrics have."""

    name: str
    baseline: Measured
    candidate: Measured

    def mismatch(self, problem: str) -> Mismatch:
        """Return that the two cannot be compared."""
        metrics = dict.fromkeys([*self.baseline.metrics.metrics, *self.candidate.metrics.metrics])
        return Mismatch(self.name, self.candidate.folder, problem, [f"{self.name}.{name}" for name in metrics])


@dataclass(frozen=True)
class Mismatch:
    """An evaluation of both runs by different rulers, or of lines that were run since: the command that scores anew.

    ``candidate`` is the folder of its scores in the candidate.
    """

    name: str
    candidate: str
    problem: str
    metrics: list[str]


@dataclass(frozen=True)
class Matches:
    """The evaluations that two runs share, and those whose rulers differ; both by name."""

    alike: list[Match]
    unlike: list[Mismatch]


def match_evaluations(baseline: RunFolder, candidate: RunFolder) -> Matches:
    """Pair the evaluations of two runs by the flow that made them.

    Raises ConfigError where they share none, RulerMismatchError where they share only such as different rulers made.
    """
    before, after = _measured(baseline), _measured(candidate)
    pairs: list[tuple[Measured, Measured]] = []
    for partner in (_same_flow, _same_name):
        for left in list(before):
            if right := partner(left, after):
                pairs.append((left, right))
                before.remove(left)
                after.remove(right)
    matches = [Match(name, *pair) for name, pair in zip(_names(pairs), pairs, strict=True)]
    problems = [(match, difference(match)) for match in matches]
    alike = [match for match, problem in problems if problem is None]
    unlike = [match.mismatch(problem) for match, problem in problems if problem]
    if not alike:
        raise RulerMismatchError(unlike[0].problem) if unlike else _not_scored(baseline, candidate)
    return Matches(sorted(alike, key=lambda match: match.name), unlike)


def difference(match: Match) -> str | None:
    """Return how the two rulers differ and the command that scores anew, None where they are alike."""
    before, after = match.baseline, match.candidate
    if before.ruler is None or after.ruler is None:
        early = [measured for measured in (before, after) if measured.ruler is None]
        runs = " and ".join(measured.run.name for measured in early)
        return (
            f"{match.name}: the scores of {runs} are an earlier build's, which did not note what measured them: "
            + _commands(early)
        )
    opening = f"{match.name} measured {before.run.name} and {after.run.name} differently: "
    for differs in (_unlike_flows, _unlike_mappings, _unlike_judges, _unlike_readings):
        if problem := differs(before, after, before.ruler, after.ruler):
            return opening + problem
    return None


def _unlike_flows(before: Measured, after: Measured, left: Ruler, right: Ruler) -> str | None:
    if left.flow_fingerprint == right.flow_fingerprint:
        return None
    if Path(left.flow).resolve() == Path(right.flow).resolve():
        stale = [measured for measured, ruler in ((before, left), (after, right)) if not _is_as_on_disk(ruler)]
        command = _commands(stale or [before, after])
    else:
        command = replace(after, metrics=before.metrics).score_again()
    return (
        f"its flow was {before.flow} of fingerprint {left.flow_fingerprint[:_SHORT]}, then {after.flow} of "
        f"{right.flow_fingerprint[:_SHORT]}: {command}"
    )


def _unlike_mappings(before: Measured, after: Measured, left: Ruler, right: Ruler) -> str | None:
    unlike = [
        name
        for name in sorted({*left.column_mapping, *right.column_mapping})
        if not _is_alike(left.column_mapping.get(name), right.column_mapping.get(name), left, right)
    ]
    if not unlike:
        return None
    sources = [
        f"its input {name} came from {_source(left.column_mapping.get(name))} and from "
        f"{_source(right.column_mapping.get(name))}"
        for name in unlike
    ]
    return f"{', '.join(sources)}: {_map_alike(before, after, left, right, unlike)}"


def _map_alike(before: Measured, after: Measured, left: Ruler, right: Ruler, unlike: Sequence[str]) -> str:
    """Return the command that scores one run by the mapping of the other, or both by the default that one has."""
    anew, mapping = after, left.column_mapping
    if any((output := _output(mapping.get(name))) and output not in right.run_outputs for name in unlike):
        anew, mapping = before, right.column_mapping
    flags = [f"{name}={mapping[name]}" for name in unlike if name in mapping]
    if len(flags) == len(unlike):
        return anew.score_again("--column-mapping", *flags)
    inputs = _inputs(left.flow)
    flags += [f"{name}={inputs[name].default}" for name in unlike if name not in mapping and name in inputs]
    return "; ".join(measured.score_again("--column-mapping", *flags) for measured in (before, after))


def _inputs(flow: str) -> Mapping[str, FlowInput]:
    try:
        return load_flow(Path(flow)).inputs
    except (FlowError, OSError):
        return {}


def _unlike_judges(before: Measured, after: Measured, left: Ruler, right: Ruler) -> str | None:
    judges = [left.judge or JudgeIdentity(), right.judge or JudgeIdentity()]
    if not all(judge.serves for judge in judges):  # who does not say what it serves is taken by its name
        judges = [judge.model_copy(update={"serves": ()}) for judge in judges]
    if judges[0] == judges[1]:
        return None
    facts: Sequence[tuple[str, Callable[[JudgeIdentity], object]]] = (
        ("model", lambda judge: judge.model),
        ("endpoint's model", lambda judge: ", ".join(judge.serves)),
        ("prompts' package", lambda judge: judge.package),
    )
    fact, read = next((fact for fact in facts if fact[1](judges[0]) != fact[1](judges[1])), ("prompts", None))
    values = f" was {read(judges[0])}, then {read(judges[1])}" if read else " differ"
    return f"its judge's {fact}{values}: score either again with the other's judge: {after.score_again()}"


def _unlike_readings(before: Measured, after: Measured, left: Ruler, right: Ruler) -> str | None:
    if before.metrics.failed_lines != after.metrics.failed_lines:
        reading = before.metrics.failed_lines.replace(" ", "-")
        return (
            f"failed lines are read as {before.metrics.failed_lines!r} and as {after.metrics.failed_lines!r}: "
            + after.score_again("--failed-lines", reading)
        )
    if before.metrics.score_ranges != after.metrics.score_ranges:
        return f"its metrics' ranges differ: {_commands([before, after])}"
    return None


def _is_alike(before: str | None, after: str | None, left: Ruler, right: Ruler) -> bool:
    """Whether an input came from the same column; what the runs themselves call their output may differ."""
    outputs = _output(before), _output(after)
    if before == after or not all(outputs):
        return before == after
    return outputs[0] not in right.run_outputs and outputs[1] not in left.run_outputs


def _output(source: str | None) -> str | None:
    match = _RUN_OUTPUT.fullmatch(source or "")
    return match[1] if match else None


def _source(source: str | None) -> str:
    return "its default" if source is None else source


def _is_as_on_disk(ruler: Ruler) -> bool:
    """Whether the flow is now what it was when it measured."""
    try:
        return load_flow(Path(ruler.flow)).fingerprint == ruler.flow_fingerprint
    except (FlowError, OSError):
        return False


def _commands(runs: Sequence[Measured]) -> str:
    return "; ".join(measured.score_again() for measured in runs)


def _measured(run: RunFolder) -> list[Measured]:
    return [Measured(run, name, run.metrics(name)) for name in run.evaluations()]


def _same_flow(left: Measured, others: Sequence[Measured]) -> Measured | None:
    alike = [
        right
        for right in others
        if left.ruler and right.ruler and left.ruler.flow_fingerprint == right.ruler.flow_fingerprint
    ]
    return min(alike, key=lambda right: right.folder != left.folder, default=None)


def _same_name(left: Measured, others: Sequence[Measured]) -> Measured | None:
    names = {left.folder, Path(left.flow).name}
    return next((right for right in others if names & {right.folder, Path(right.flow).name}), None)


def _names(pairs: Sequence[tuple[Measured, Measured]]) -> list[str]:
    """Return each pair's name: the shorter of its folders', with the fingerprint where two pairs have the same."""
    short = [min(left.folder, right.folder, key=lambda folder: (len(folder), folder)) for left, right in pairs]
    count = Counter(short)
    return [
        f"{name}-{left.ruler.flow_fingerprint[:_SHORT]}" if count[name] > 1 and left.ruler else name
        for name, (left, _) in zip(short, pairs, strict=True)
    ]


def _not_scored(baseline: RunFolder, candidate: RunFolder) -> ConfigError:
    scored = baseline.evaluations(), candidate.evaluations()
    lacking, run = (candidate, baseline) if scored[0] else (baseline, candidate)
    other = next(iter(_measured(run)), None)
    flow = other.flow if other else ANSWER_MATCH.as_posix()
    by = f" by {other.folder}" if other else ""
    return ConfigError(f"run {lacking.name} is not scored{by}: phi3flow score {lacking.name} --flow {flow}")
