"""Which line of one run stands beside which of another: by line_id, or by a column of the data."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phi3flow.comparison.scored_runs import ScoredRun, ScoredRuns
from phi3flow.errors import ConfigError, DatasetError
from phi3flow.records.comparisons import Sides
from phi3flow.runs.conversations import cluster_labels
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import Row, identity
from phi3flow.text import shorten

_DATA_COLUMN = re.compile(r"\$\{data\.(.+)\}")


@dataclass(frozen=True)
class Pairs:
    """The lines that two runs share: line numbers side by side, each pair's cluster and row of the data.

    ``measured_otherwise`` lines, which both have too, are left out: what their answers were scored by differs, in the
    data's ``columns``.
    """

    baseline: list[int]
    candidate: list[int]
    clusters: np.ndarray[Any, Any]
    rows: list[Row]
    unmatched: Sides
    measured_otherwise: int = 0
    columns: tuple[str, ...] = ()


def pair_lines(evaluations: Sequence[ScoredRuns], *, by: str | None) -> Pairs:
    """Pair the scored lines of two runs by line_id, or by the value of the data's column ``by``.

    A pair has one conversation with another where either run's data says so. Raises ConfigError where the runs have no
    line in common that was scored by the same data, a row lacks the column, or two rows have the same value.
    """
    runs = evaluations[0]
    left, right = _keys(runs.baseline, by), _keys(runs.candidate, by)
    common = [key for key in left if key in right]
    if not common:
        raise ConfigError(
            f"{runs.baseline.name} ({len(left)} lines) and {runs.candidate.name} ({len(right)} lines) "
            "have no line in common"
            + (f" by {by}" if by else ": pair them by a column of the data with --pair-by COLUMN")
        )
    numbers = [(left[key], right[key]) for key in common]
    data = _data_of(runs)
    unlike = _unlike_columns(evaluations, data, numbers)
    alike = [pair for pair, columns in zip(numbers, unlike, strict=True) if not columns]
    columns = tuple(sorted(set[str]().union(*unlike)))
    if not alike:
        raise ConfigError(
            f"{runs.baseline.name} and {runs.candidate.name} have no line whose answers were scored by the same "
            f"{' and '.join(columns)}: their data differ there. Run one of them again over the data of the other"
        )
    sides = [[rows[pair[side]] for pair in alike] for side, rows in enumerate(data) if rows is not None]
    baseline, candidate = zip(*alike, strict=True)
    return Pairs(
        baseline=list(baseline),
        candidate=list(candidate),
        clusters=np.array(cluster_labels(*sides)),
        rows=sides[0],
        unmatched=Sides(baseline=len(left) - len(common), candidate=len(right) - len(common)),
        measured_otherwise=len(common) - len(alike),
        columns=columns,
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


def _data_of(runs: ScoredRuns) -> tuple[list[Row] | None, list[Row] | None]:
    """Return the data of either run by line number: None where it is gone, and of the candidate where it is the same.

    Raises DatasetError where both are gone.
    """
    folders = runs.baseline.folder, runs.candidate.folder
    if folders[0].manifest.data_sha256 == folders[1].manifest.data_sha256:
        with contextlib.suppress(DatasetError):
            return folders[0].data_rows(), None
    data = _rows_or_none(folders[0]), _rows_or_none(folders[1])
    return data if any(rows is not None for rows in data) else (folders[0].data_rows(), None)


def _rows_or_none(run: RunFolder) -> list[Row] | None:
    try:
        return run.data_rows()
    except DatasetError:
        return None


def _unlike_columns(
    evaluations: Sequence[ScoredRuns], data: tuple[list[Row] | None, list[Row] | None], pairs: Sequence[tuple[int, int]]
) -> list[set[str]]:
    """Return of each pair the columns by which its answers were scored, and which differ in the two runs' data."""
    before, after = data
    if before is None or after is None:
        return [set() for _ in pairs]
    columns = {
        column
        for runs in evaluations
        for run in (runs.baseline, runs.candidate)
        if run.metrics.evaluation
        for value in run.metrics.evaluation.column_mapping.values()
        for column in _DATA_COLUMN.findall(value)
    }
    return [
        {column for column in columns if before[left].get(column) != after[right].get(column)} for left, right in pairs
    ]
