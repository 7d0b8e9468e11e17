"""What a difference shows: one rule, for comparisons and gates alike."""

from __future__ import annotations

from phi3flow.records.comparisons import Verdict
from phi3flow.stats.estimates import ALPHA


def decide(
    low: float | None, high: float | None, p: float | None, *, margin: float | None = None, level: float = ALPHA
) -> Verdict:
    """Return what the interval from ``low`` to ``high`` of a difference, where more is better, shows with its ``p``.

    Better and worse need both: an interval without 0, and p below ``level``: for 0/1 scores the interval alone passes
    up to 0.0325 where 0.025 is promised. Equivalent is an interval inside of ``margin`` on either side of 0: two
    one-sided tests (Schuirmann 1987, J. Pharmacokinetics and Biopharmaceutics 15:657).
    """
    if low is None or high is None:
        return "undecided"
    if p is not None and p < level and (low > 0 or high < 0):
        return "better" if low > 0 else "worse"
    return "equivalent" if margin is not None and -margin < low and high < margin else "undecided"
