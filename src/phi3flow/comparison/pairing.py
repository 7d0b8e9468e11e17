"""Which line of one run stands beside which of another: by line_id, or by a column of the data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from phi3flow.comparison.scored_runs import ScoredRun, ScoredRuns
from phi3flow.errors import ConfigError, DatasetError
from phi3flow.records.comparisons import Sides
from phi3flow.runs.conversations import cluster_labels
from phi3flow.storage.jsonl import Row, identity
from phi3flow.text import shorten


@dataclass(frozen=True)
class Pairs:
    """The lines that two runs share: line numbers side by side, each pair's cluster and row of the data."""

    baseline: list[int]
    candidate: list[int]
    clusters: np.ndarray[Any, Any]
    rows: list[Row]
    unmatched: Sides


def pair_lines(runs: ScoredRuns, *, by: str | None) -> Pairs:
    """Pair the scored lines of two runs by line_id, or by the value of the data's column ``by``.

    Raises ConfigError where they have no line in common, a row lacks the column, or two rows have the same value.
    """
    left, right = _keys(runs.baseline, by), _keys(runs.candidate, by)
    common = [key for key in left if key in right]
    if not common:
        raise ConfigError(
            f"{runs.baseline.name} ({len(left)} lines) and {runs.candidate.name} ({len(right)} lines) "
            "have no line in common"
            + (f" by {by}" if by else ": pair them by a column of the data with --pair-by COLUMN")
        )
    baseline, candidate = [left[key] for key in common], [right[key] for key in common]
    rows = _common_rows(runs, baseline, candidate)
    return Pairs(
        baseline=baseline,
        candidate=candidate,
        clusters=np.array(cluster_labels(rows)),
        rows=rows,
        unmatched=Sides(baseline=len(left) - len(common), candidate=len(right) - len(common)),
    )


def _keys(run: ScoredRun, column: str | None) -> dict[str, int]:
    """Return the line numbers of a run by what its lines are paired by."""
    if column:
        return _keys_by_column(run, column)
    return {score.line_id: number for number, score in run.scores.items()}


def _keys_by_column(run: ScoredRun, column: str) -> dict[str, int]:
    rows, keys = run.folder.data_rows(), dict[str, int]()
    for number in run.scores:
        row = rows[number]
        if column not in row:
            raise ConfigError(
                f"--pair-by {column}: line {number} of run {run.name} has no such column; it has {', '.join(row)}"
            )
        name = identity(row[column])
        key = json.dumps(row[column] if name is None else name, sort_keys=True, ensure_ascii=False)
        if key in keys:
            raise ConfigError(
                f"--pair-by {column}: lines {keys[key]} and {number} of run {run.name} both have {shorten(key)}: "
                "pair by a column whose values differ from line to line"
            )
        keys[key] = number
    return keys


def _common_rows(runs: ScoredRuns, baseline: list[int], candidate: list[int]) -> list[Row]:
    """Return each pair's row of the baseline's data, or of the candidate's where that file is gone."""
    try:
        rows, numbers = runs.baseline.folder.data_rows(), baseline
    except DatasetError:
        rows, numbers = runs.candidate.folder.data_rows(), candidate
    return [rows[number] for number in numbers]
