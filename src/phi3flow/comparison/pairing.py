"""Which line of one run stands beside which of another."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from phi3flow.errors import ConfigError, DatasetError
from phi3flow.records.comparisons import Unmatched
from phi3flow.records.scores import LineScore
from phi3flow.runs.conversations import cluster_labels
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.repeats import average_repeats
from phi3flow.text import shorten

Scores = Mapping[int, LineScore]


@dataclass(frozen=True)
class Pairs:
    """The lines that two runs share: line numbers side by side, each pair's cluster and row of the data."""

    baseline: list[int]
    candidate: list[int]
    clusters: np.ndarray[Any, Any]
    rows: list[dict[str, Any]]
    unmatched: Unmatched


def pair_lines(
    baseline: RunFolder,
    candidate: RunFolder,
    sides: tuple[Scores, Scores],
    pair_by: str | None,
) -> Pairs:
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
    rows = _common_rows(baseline, candidate, first, second)
    return Pairs(
        baseline=first,
        candidate=second,
        clusters=np.array(cluster_labels(rows)),
        rows=rows,
        unmatched=Unmatched(baseline=len(left) - len(common), candidate=len(right) - len(common)),
    )


def _common_rows(
    baseline: RunFolder, candidate: RunFolder, first: list[int], second: list[int]
) -> list[dict[str, Any]]:
    """Return each pair's row of the baseline's data, or of the candidate's where that file is gone."""
    try:
        rows, numbers = baseline.data_rows(), first
    except DatasetError:
        rows, numbers = candidate.data_rows(), second
    return [rows[number] for number in numbers]


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
                f"--pair-by {column}: lines {keys[key]} and {number} of run {run.name} both have {shorten(key)}: "
                "pair by a column whose values differ from line to line"
            )
        keys[key] = number
    return keys


def scores_by_number(run: RunFolder, evaluation: str) -> dict[int, LineScore]:
    return {score.line_number: score for score in average_repeats(run.scores(evaluation), run.manifest.lines)}
