"""The metrics of one line: how far an answer matches the ground truths, of which any will do.

Scores are between 0 and 1, but BLEU and chrF between 0 and 100, as their authors print them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from answer_match_text import holds_value, squad_tokens, unicode_tokens
from rouge_score.scoring import fmeasure
from rouge_score.tokenize import tokenize
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

Statistics = list[int]
"""Counts that add up over lines, from which BLEU or chrF of a line or of a whole run is computed."""


def exact_match(answer: str, ground_truths: Sequence[str]) -> float:
    """Return 1 where the answer equals a ground truth after SQuAD normalisation, else 0.

    Source: Rajpurkar et al. 2016, SQuAD v1.1's official script.
    """
    tokens = squad_tokens(answer)
    return float(any(tokens == squad_tokens(truth) for truth in ground_truths))


def f1(answer: str, ground_truths: Sequence[str]) -> float:
    """Return the best F1 over a ground truth's tokens, as a bag, after SQuAD normalisation.

    Two empty texts score 0, as in SQuAD v1.1's official script (Rajpurkar et al. 2016).
    """
    tokens = squad_tokens(answer)
    return max(_bag_f1(tokens, squad_tokens(truth)) for truth in ground_truths)


def exact_match_unicode(answer: str, ground_truths: Sequence[str]) -> float:
    """Return 1 where the answer's Unicode tokens (``unicode_tokens``) equal a ground truth's, else 0."""
    tokens = unicode_tokens(answer)
    return float(any(tokens == unicode_tokens(truth) for truth in ground_truths))


def f1_unicode(answer: str, ground_truths: Sequence[str]) -> float:
    """Return the best F1 over Unicode tokens (``unicode_tokens``), so that every script can score."""
    tokens = unicode_tokens(answer)
    return max(_bag_f1(tokens, unicode_tokens(truth)) for truth in ground_truths)


def rouge(answer: str, ground_truths: Sequence[str]) -> dict[str, float]:
    """Return the best F-measure of ROUGE-1, ROUGE-2 and ROUGE-L, without stemming.

    Equal to google's rouge-score, whose tokens these are (ASCII letters and digits only). Its scorer itself is
    not called: it imports the whole of NLTK, which takes seconds, and its longest common subsequence takes
    time and memory of both lengths multiplied. Source: Lin 2004.
    """
    tokens = tokenize(answer, None)
    references = [tokenize(truth, None) for truth in ground_truths]
    return {
        "rouge_1": max(_ngram_f(tokens, reference, 1) for reference in references),
        "rouge_2": max(_ngram_f(tokens, reference, 2) for reference in references),
        "rouge_l": max(_subsequence_f(tokens, reference) for reference in references),
    }


def bleu_statistics(answer: str, ground_truths: Sequence[str]) -> Statistics:
    """Return sacrebleu's counts for BLEU, 13a tokens: [answer length, reference length, 4 matches, 4 totals]."""
    return list(_BLEU._extract_corpus_statistics([answer], [[truth] for truth in ground_truths])[0])


def bleu(statistics: Statistics, *, corpus: bool = False) -> float:
    """Return BLEU (Papineni et al. 2002) as sacrebleu does: exponential smoothing.

    A line's score uses the effective order (Post 2018), so that an answer of fewer than 4 tokens can score;
    a corpus's does not.
    """
    score = BLEU.compute_bleu(
        correct=statistics[2:6],
        total=statistics[6:10],
        sys_len=statistics[0],
        ref_len=statistics[1],
        smooth_method="exp",
        effective_order=not corpus,
    ).score
    return min(float(score), 100.0)  # sacrebleu's of a perfect answer is 100.00000000000004


def chrf_statistics(answer: str, ground_truths: Sequence[str]) -> Statistics:
    """Return sacrebleu's counts for chrF: [answer's, reference's, shared] for each character order 1 to 6."""
    return list(_CHRF._extract_corpus_statistics([answer], [[truth] for truth in ground_truths])[0])


def chrf(statistics: Statistics) -> float:
    """Return chrF2 (Popović 2015) as sacrebleu does: character order 6, word order 0, beta 2, no white space."""
    return min(float(_CHRF._compute_f_score(statistics)), 100.0)


def value_accuracy(answer: str, values: Sequence[str | int | float]) -> float | None:
    """Return 1 where the answer states every one of the values (``holds_value``), else 0; None without values.

    Raises ValueError for a value that is no text and no number.
    """
    if not values:
        return None
    for value in values:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"values holds {value!r:.80}: a value is a text or a number that an answer could state")
    stated = [holds_value(answer, str(value)) for value in values]
    return float(all(stated))


_BLEU = BLEU(force=True)  # no advice on texts that end in a period after a space
_CHRF = CHRF()


def _bag_f1(answer: Sequence[str], truth: Sequence[str]) -> float:
    shared = sum((Counter(answer) & Counter(truth)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(answer), shared / len(truth)
    return 2 * precision * recall / (precision + recall)


def _ngram_f(answer: list[str], truth: list[str], order: int) -> float:
    ours, theirs = (Counter(zip(*(tokens[i:] for i in range(order)), strict=False)) for tokens in (answer, truth))
    shared = sum((ours & theirs).values())
    return float(fmeasure(shared / max(ours.total(), 1), shared / max(theirs.total(), 1)))


def _subsequence_f(answer: list[str], truth: list[str]) -> float:
    if not answer or not truth:
        return 0.0
    length = _longest_common_subsequence(answer, truth)
    return float(fmeasure(length / len(answer), length / len(truth)))


def _longest_common_subsequence(left: list[str], right: list[str]) -> int:
    """Return its length, with one bit a token of ``right`` (Hyyrö 2004, Bit-parallel LCS-length computation)."""
    places: dict[str, int] = {}
    for index, token in enumerate(right):
        places[token] = places.get(token, 0) | 1 << index
    every = (1 << len(right)) - 1
    row = every
    for token in left:
        matches = row & places.get(token, 0)
        row = (row + matches | row - matches) & every
    return len(right) - row.bit_count()
