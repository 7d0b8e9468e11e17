"""Scores: evaluation flows over the lines of a run, and judges that prefer one run's answers to another's.

A scoring that failed is a record with its reason, never a number.
"""

from __future__ import annotations

from phi3flow.scoring.estimates import estimate_metrics
from phi3flow.scoring.judging import judge_pairs
from phi3flow.scoring.score_run import KeptLines, score_run

__all__ = ["KeptLines", "estimate_metrics", "judge_pairs", "score_run"]
