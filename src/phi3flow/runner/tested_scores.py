"""``early_stop.jsonl``: the scores that a run was tested by, kept so that every opening of it tests the same ones.

A judge asked twice may say something else, and would be paid twice.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from phi3flow.records.record import Record
from phi3flow.records.scores import LineScore, Ruler
from phi3flow.storage.appended import AppendedLines
from phi3flow.storage.jsonl import read_lines

_FILE = "early_stop.jsonl"


class TestedScore(Record):
    """One line of the file: a line's score, and the SHA-256 of the ruler that gave it."""

    ruler: str
    score: LineScore


class TestedScores:
    """The scores by one ruler in a run's folder, by line_number; more are appended."""

    def __init__(self, run: Path, ruler: Ruler) -> None:
        path = run / _FILE
        self._ruler = hashlib.sha256(ruler.model_dump_json().encode()).hexdigest()
        self._file = AppendedLines(path)
        records = [TestedScore.model_validate_json(line) for _, line in read_lines(path)]
        self.scores = {record.score.line_number: record.score for record in records if record.ruler == self._ruler}

    def append(self, score: LineScore) -> None:
        """Keep one more. Raises StorageError where the disk refuses."""
        self._file.append(TestedScore(ruler=self._ruler, score=score).model_dump_json().encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()
