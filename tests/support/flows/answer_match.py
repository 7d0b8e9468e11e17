"""The modules of flows/eval/answer_match, which is no package: a flow's folder is on the path while it runs."""

from __future__ import annotations

import sys

from tests.support.paths import FLOWS

FLOW = FLOWS / "eval" / "answer_match"
sys.path.insert(0, str(FLOW))
try:
    import aggregate
    import answer_match_metrics as metrics
    import answer_match_text as text
    import score_line
finally:
    sys.path.remove(str(FLOW))

__all__ = ["FLOW", "aggregate", "metrics", "score_line", "text"]
