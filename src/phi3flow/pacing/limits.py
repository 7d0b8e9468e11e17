"""How hard an endpoint may be asked: the bounds that a user sets."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds on the attempts that an endpoint is asked.

    ``concurrency``: attempts in flight, None to find it; ``rpm`` and ``tpm``: requests and tokens a minute;
    ``timeout_s``: seconds an attempt may take; ``max_retries``: retries an item may have (all together as many as there
    are items, and 100); ``outage_s``: how long an endpoint is waited for that gives no answer (two minutes for the
    first), or asks for time.
    """

    concurrency: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    timeout_s: float = 180.0
    max_retries: int = 5
    outage_s: float = 900.0


NO_LIMITS = Limits()
"""The bounds where a user sets none."""
