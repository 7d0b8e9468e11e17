"""Compare two scored runs: pair their lines, then infer each metric's difference with ``phi3flow.stats``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phi3flow.errors import ConfigError, DatasetError
from phi3flow.records import Comparison, Difference, LineScore, MetricComparison, Unmatched
from phi3flow.run_store import RunFolder
from phi3flow.scoring import conversations
from phi3flow.stats import ALPHA, compare_pairs, holm

DEFAULT_CONFIRMATORY = ("value_accuracy", "f1")

Verdict = Literal["better", "worse", "undecided", "no difference", "not comparable"]
Scores = Mapping[int, LineScore]


@dataclass(frozen=True)
class _Pairs:
    """The lines that two runs share: line numbers side by side, and each pair's conversation."""

    baseline: list[int]
    candidate: list[int]
    clusters: list[str]
    unmatched: Unmatched


def compare_runs(
    baseline: RunFolder,
    candidate: RunFolder,
    *,
    metrics: Sequence[str] | None = None,
    pair_by: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare every metric that both runs are scored by, candidate minus baseline, over their common lines.

    Lines are paired by line_id, or by the data column ``pair_by``; a metric counts those that both runs scored.
    ``metrics`` (full or unambiguous short names) are confirmatory: only they get ``p_holm``. The default is the
    first of value_accuracy and f1 that has pairs.

    Raises ConfigError where a run is not scored, a metric is unknown, or no line is common to both.
    """
    evaluations = _common_evaluations(baseline, candidate)
    scores = {name: (_by_number(baseline.scores(name)), _by_number(candidate.scores(name))) for name in evaluations}
    pairs = _pair(baseline, candidate, scores[evaluations[0]], pair_by)
    compared = {
        f"{evaluation}.{metric}": _compare_metric(metric, *sides, pairs, seed)
        for evaluation, sides in scores.items()
        for metric in dict.fromkeys(name for side in sides for line in side.values() for name in line.scores)
    }
    confirmatory = resolve_metrics(metrics, compared) if metrics else _default_confirmatory(compared)
    for name, p in zip(confirmatory, holm([compared[name].p for name in confirmatory]), strict=True):
        compared[name] = compared[name].model_copy(update={"p_holm": p})
    return Comparison(
        baseline=baseline.name,
        candidate=candidate.name,
        n_paired=len(pairs.baseline),
        unmatched=pairs.unmatched,
        metrics={name: compared[name] for name in dict.fromkeys([*confirmatory, *compared])},
    )


def judge(metric: MetricComparison) -> Verdict:
    """Return what the comparison shows at the 5 % level, by ``p_holm`` where the metric is confirmatory."""
    p = metric.p if metric.p_holm is None else metric.p_holm
    if metric.n == 0 or metric.difference.mean is None:
        return "not comparable"
    if metric.wins == metric.losses == 0:
        return "no difference"
    if p is None or p >= ALPHA:
        return "undecided"
    return "better" if metric.difference.mean > 0 else "worse"


def describe_verdict(name: str, comparison: Comparison) -> str:
    """Return one sentence on the metric ``name``: what is shown, or what it would take to show it."""
    metric = comparison.metrics[name]
    verdict, difference = judge(metric), metric.difference
    if verdict == "not comparable":
        return f"{name}: not comparable: no line has a score in both runs."
    if verdict == "no difference":
        return f"{name}: no difference: all {metric.n:,} lines score the same."
    p = metric.p if metric.p_holm is None else metric.p_holm
    evidence = [] if p is None else ["p < 0.001" if p < 0.001 else f"p = {p:.3f}"]
    if difference.low is not None and difference.high is not None:
        evidence.insert(0, f"95 % interval {difference.low:+.3f} to {difference.high:+.3f}")
    evidence.append(f"{metric.n:,} lines")
    shown = f"{difference.mean:+.3f} ({', '.join(evidence)})"
    if verdict != "undecided":
        return f"{name}: {comparison.candidate} is {verdict} than {comparison.baseline}: {shown}."
    sentence = f"{name}: undecided: {shown}."
    if metric.lines_needed is not None:
        sentence += f" A difference of this size takes about {metric.lines_needed:,} lines to show"
        sentence += f"; these lines show one of {metric.minimum_detectable_effect:.3f} or more (80 % power)."
    return sentence


def resolve_metrics(names: Sequence[str], known: Mapping[str, object]) -> list[str]:
    """Return full names for full or short ones. Raises ConfigError for an unknown or an ambiguous name."""
    resolved = []
    for name in names:
        found = [full for full in known if name in (full, full.rpartition(".")[2])]
        if len(found) != 1:
            problem = f"is ambiguous: {', '.join(found)}" if found else f"is unknown: there are {', '.join(known)}"
            raise ConfigError(f"metric {name!r} {problem}")
        resolved += found
    return list(dict.fromkeys(resolved))


def _default_confirmatory(compared: Mapping[str, MetricComparison]) -> list[str]:
    for wanted in DEFAULT_CONFIRMATORY:
        for name, metric in compared.items():
            if name.rpartition(".")[2] == wanted and metric.n:
                return [name]
    return []


def _common_evaluations(baseline: RunFolder, candidate: RunFolder) -> list[str]:
    scored = {run: run.evaluations() for run in (baseline, candidate)}
    common = [name for name in scored[baseline] if name in scored[candidate]]
    if common:
        return common
    lacking = candidate if scored[baseline] else baseline
    flow = next(iter(scored[baseline] or scored[candidate]), "answer_match")
    raise ConfigError(
        f"run {lacking.name} is not scored{f' by {flow}' if any(scored.values()) else ''}: "
        f"phi3flow score {lacking.name} --flow flows/eval/{flow}"
    )


def _compare_metric(metric: str, left: Scores, right: Scores, pairs: _Pairs, seed: int) -> MetricComparison:
    before, after, clusters = list[float](), list[float](), list[str]()
    for first, second, cluster in zip(pairs.baseline, pairs.candidate, pairs.clusters, strict=True):
        one, other = _score(left, first, metric), _score(right, second, metric)
        if one is not None and other is not None:
            before.append(one)
            after.append(other)
            clusters.append(cluster)
    found = compare_pairs(before, after, clusters=clusters, rng=np.random.default_rng(seed))
    return MetricComparison(
        baseline=float(np.mean(before)) if before else None,
        candidate=float(np.mean(after)) if after else None,
        difference=Difference(mean=found.mean, low=found.low, high=found.high),
        p=found.p,
        p_permutation=found.p_permutation,
        wins=found.wins,
        losses=found.losses,
        ties=found.ties,
        minimum_detectable_effect=found.minimum_detectable_effect,
        lines_needed=found.lines_needed,
        n=found.n,
        method=found.method,
    )


def _pair(baseline: RunFolder, candidate: RunFolder, sides: tuple[Scores, Scores], pair_by: str | None) -> _Pairs:
    left, right = (
        _keys_by_column(run, scores, pair_by)
        if pair_by
        else {line.line_id: line.line_number for line in scores.values()}
        for run, scores in zip((baseline, candidate), sides, strict=True)
    )
    common = [key for key in left if key in right]
    if not common:
        raise ConfigError(
            f"{baseline.name} ({len(left)} lines) and {candidate.name} ({len(right)} lines) have no line in common"
            + (f" by {pair_by}" if pair_by else ": pair them by a column of the data with --pair-by COLUMN")
        )
    first, second = [left[key] for key in common], [right[key] for key in common]
    return _Pairs(
        baseline=first,
        candidate=second,
        clusters=_clusters(baseline, candidate, first, second),
        unmatched=Unmatched(baseline=len(left) - len(common), candidate=len(right) - len(common)),
    )


def _clusters(baseline: RunFolder, candidate: RunFolder, first: list[int], second: list[int]) -> list[str]:
    """Return each pair's conversation from the baseline's data, or the candidate's where that file is gone."""
    try:
        labels, numbers = conversations(baseline.data_rows()), first
    except DatasetError:
        labels, numbers = conversations(candidate.data_rows()), second
    return [labels[number] for number in numbers]


def _keys_by_column(run: RunFolder, scores: Scores, column: str) -> dict[str, int]:
    rows, keys = run.data_rows(), dict[str, int]()
    for number in scores:
        row = rows[number]
        if column not in row:
            raise ConfigError(
                f"--pair-by {column}: line {number} of run {run.name} has no such column; it has {', '.join(row)}"
            )
        key = json.dumps(row[column], sort_keys=True, ensure_ascii=False)
        if key in keys:
            raise ConfigError(
                f"--pair-by {column}: lines {keys[key]} and {number} of run {run.name} both have {_shorten(key)}: "
                "pair by a column whose values differ from line to line"
            )
        keys[key] = number
    return keys


def _by_number(scores: list[LineScore]) -> dict[int, LineScore]:
    return {score.line_number: score for score in scores}


def _score(scores: Scores, line_number: int, metric: str) -> float | None:
    return scores[line_number].scores.get(metric) if line_number in scores else None


def _shorten(text: str, limit: int = 60) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
