"""Scores: evaluation flows over the lines of a run, and judges that prefer one run's answers to another's."""

from __future__ import annotations

from phi3flow.scoring.judging import judge_pairs
from phi3flow.scoring.run import estimate_metrics, leaked_lines, score_run

__all__ = ["estimate_metrics", "judge_pairs", "leaked_lines", "score_run"]
