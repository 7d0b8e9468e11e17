"""Metrics of a whole run, computed from counts that add up over lines. Arrays of any shape, counts on the last axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from phi3flow.stats.estimates import Floats

_BLEU_ORDER = 4
_CHRF_ORDER = 6
_CHRF_BETA = 2

Metric = Callable[[Floats], Floats]


def corpus_bleu(counts: Floats) -> Floats:
    """Return BLEU, 0 to 100, of summed counts [answer length, reference length, 4 matches, 4 totals].

    Papineni et al. 2002 with exponential smoothing, as sacrebleu 2.6 computes it over a corpus.
    """
    answer, reference = counts[..., 0], counts[..., 1]
    matches, totals = counts[..., 2 : 2 + _BLEU_ORDER], counts[..., 2 + _BLEU_ORDER :]
    halvings = np.cumsum((matches == 0) & (totals > 0), axis=-1)
    smoothed = np.where(matches == 0, np.exp2(-halvings.astype(float)), matches)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.exp(np.log(smoothed / totals).mean(axis=-1))
        brevity = np.exp(np.where(answer < reference, 1 - reference / answer, 0.0))
        scored = matches.any(axis=-1) & (totals > 0).all(axis=-1)
        return np.where(scored, 100 * brevity * precision, 0.0)


def corpus_chrf(counts: Floats) -> Floats:
    """Return chrF2, 0 to 100, of summed counts [answer's, reference's, shared] for each character order 1 to 6.

    Popović 2015 as sacrebleu 2.6 computes it: precision and recall are averaged over the orders that both have.
    """
    by_order = counts.reshape(*counts.shape[:-1], _CHRF_ORDER, 3)
    answer, reference, shared = by_order[..., 0], by_order[..., 1], by_order[..., 2]
    used = (answer > 0) & (reference > 0)
    orders = np.maximum(used.sum(axis=-1), 1)
    precision = (shared * used / np.maximum(answer, 1)).sum(axis=-1) / orders
    recall = (shared * used / np.maximum(reference, 1)).sum(axis=-1) / orders
    weight = _CHRF_BETA**2 * precision + recall
    return np.asarray(100 * (1 + _CHRF_BETA**2) * precision * recall / np.where(weight > 0, weight, 1.0))


def corpus_perplexity(counts: Floats) -> Floats:
    """Return exp(-log-likelihood / tokens) of summed counts [log-likelihood in nats, tokens]."""
    return np.asarray(np.exp(-counts[..., 0] / counts[..., 1]))


def bleu_ends(counts: Floats) -> Floats:
    """Return the counts, (2, K), of an answer as long as the summed ``counts`` that is all wrong, and all right."""
    worst, best = counts.copy(), counts.copy()
    worst[2 : 2 + _BLEU_ORDER] = 0
    best[0], best[2 : 2 + _BLEU_ORDER] = counts[1], counts[2 + _BLEU_ORDER :]
    return np.stack([worst, best])


def chrf_ends(counts: Floats) -> Floats:
    """Return the counts, (2, K), of an answer as long as the summed ``counts`` that is all wrong, and all right."""
    by_order = counts.reshape(_CHRF_ORDER, 3)
    worst, best = by_order.copy(), by_order.copy()
    worst[:, 2] = 0
    best[:, 0] = best[:, 2] = by_order[:, 1]
    return np.stack([worst.ravel(), best.ravel()])


def line_lengths(counts: Floats) -> Floats:
    """Return how long each line is, in the unit of its metric: its reference, the second count of every metric."""
    return np.asarray(np.maximum(counts[..., 1], 1.0))


CORPUS_ENDS: Mapping[Metric, Callable[[Floats], Floats]] = {
    corpus_bleu: bleu_ends,
    corpus_chrf: chrf_ends,
}
"""By the metric, the counts of answers at either end of its range; perplexity has no range."""

CORPUS_METRICS: Mapping[str, Metric] = {
    "corpus_bleu": corpus_bleu,
    "corpus_chrf": corpus_chrf,
    "corpus_perplexity": corpus_perplexity,
}
"""By the metric's name; its counts are called the same without ``corpus_``."""
