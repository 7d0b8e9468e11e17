"""The one loop that waits for Azure: look, and look again after as long as the service asks for, else ever later."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Look = Callable[[], tuple[T, float | None]]
"""Asks once: what there is, and how many seconds the service asks to wait before the next look, where it does."""


@dataclass(frozen=True)
class Waits:
    """How long to wait between looks where the service does not say, in seconds: ``first_s``, then ``growth`` times as
    long each time, up to ``longest_s``."""

    first_s: float
    longest_s: float
    growth: float = 1.5


RESOURCE_WAITS = Waits(first_s=1.0, longest_s=15.0)
"""Between looks at a resource that an operation is under way on."""
JOB_WAITS = Waits(first_s=1.0, longest_s=30.0)
"""Between looks at a job, which takes minutes to hours."""
GRANT_WAITS = Waits(first_s=0.5, longest_s=10.0)
"""Between looks at a registration, and attempts to give a role to a principal that was just made."""


def poll(look: Look[T], *, until: Callable[[T], bool], waits: Waits, most_looks: int | None = None) -> T:
    """Look until ``until`` holds for what there is, or ``most_looks`` times, and return what was seen last.

    What ``look`` raises ends it.
    """
    wait_s, looks = waits.first_s, 1
    while True:
        state, asked_wait_s = look()
        if until(state) or looks == most_looks:
            return state
        time.sleep(asked_wait_s or wait_s)
        wait_s = min(waits.longest_s, wait_s * waits.growth)
        looks += 1
