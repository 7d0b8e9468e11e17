"""The start of an attempt, by which everyone knows it until it ends."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Start:
    """An attempt was given to a worker at ``at_s``, in monotonic seconds, while ``beside`` others were in flight.

    It was sent at ``sent_s``: later, where the worker was busy.
    """

    at_s: float
    beside: int
    sent_s: float
