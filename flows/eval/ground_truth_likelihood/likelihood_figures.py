"""Perplexity from log-likelihoods."""

import math


def perplexity(log_likelihood: float, tokens: float) -> float | None:
    """Return exp(-log_likelihood / tokens), log_likelihood in nats; None where no float is as large.

    Jelinek et al. 1977: the size of the vocabulary among which the model would be choosing with equal chances.
    """
    try:
        return math.exp(-log_likelihood / tokens)
    except OverflowError:
        return None
