"""Random scores for tests of intervals and tests: seeded, and correlated within conversations."""

from __future__ import annotations

import math

import numpy as np

SIMULATIONS = 20_000


def rng(seed: int = 0) -> np.random.Generator:
    """Return a generator of random numbers, the same for the same seed."""
    return np.random.default_rng(seed)


def conversations(n: int, lines: int) -> np.ndarray | None:
    """Return the conversation of each of n lines, None where every line is one of its own."""
    return None if lines == 1 else np.repeat(np.arange(n // lines), lines)


def correlated(generator: np.random.Generator, n: int, lines: int) -> np.ndarray:
    """Standard normal numbers, half of whose variance is shared by the ``lines`` of a conversation."""
    if lines == 1:
        return generator.standard_normal((SIMULATIONS, n))
    shared = np.repeat(generator.standard_normal((SIMULATIONS, n // lines)), lines, axis=-1)
    return math.sqrt(0.5) * (shared + generator.standard_normal((SIMULATIONS, n)))
