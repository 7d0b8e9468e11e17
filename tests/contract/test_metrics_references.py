"""answer_match equals the implementations that its metrics are defined by, on thousands of random pairs."""

from __future__ import annotations

import random
import re
import string
from collections import Counter

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from tests.support.flows.answer_match import metrics, text

TOLERANCE = 1e-9
PAIRS = 5000
_TEXTS = {
    "ascii": "the a an cat sat on mat. 42 3.14, U.S. don't (yes) x-ray $5 50% e.g. &amp; Paris; A THE",
    "accented": "café naïve Zürich Łódź ﬁn İstanbul straße Ångström œuvre cafe\u0301 – “quoted” …",
    "cjk": "北京 是 中国 的 首都 。 東京は日本の首都です コーヒー 서울은 대한민국의 수도 １２３ 「はい」",
    "arabic": "القاهرة عاصمة مصر ، ما هي ؟ ١٢٣ لا مُحَمَّد",
    "emoji": "👍 👍🏽 👩\u200d👩\u200d👧 ❤\ufe0f 🇰🇷 ok 🙂🙂 #1\ufe0f\u20e3",
}
_ODD = ["", " ", "\n", "\t", "\u00a0", "\u200b", "\x00", "\ufeff", "-\n", "<skipped>", "a\u2028b"]
_WORDS = {name: written.split() for name, written in _TEXTS.items()} | {"odd": _ODD}


def _random_text(rng: random.Random) -> str:
    words = [word for name in rng.sample(list(_WORDS), rng.randint(1, 3)) for word in _WORDS[name]]
    length = rng.choice([0, 1, 2, 3, 5, 8, 13, 30])
    return rng.choice([" ", " ", " ", "", "\n"]).join(rng.choice(words) for _ in range(length))


def _random_pairs() -> list[tuple[str, list[str]]]:
    """Pairs of every script, empty, repeated, shuffled and very long ones, with one to three ground truths."""
    rng = random.Random(20260420)
    pairs = []
    for _ in range(PAIRS):
        truths = [_random_text(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        answer = _random_text(rng)
        if rng.random() < 0.5:  # share words with the first ground truth
            words = truths[0].split(" ")
            answer = " ".join(rng.sample(words, rng.randint(0, len(words))) + answer.split(" ")[:2])
        pairs.append((answer, truths))
    every_word = [word for words in _WORDS.values() for word in words]
    pairs += [(" ".join(rng.choices(every_word, k=900)), [" ".join(rng.choices(every_word, k=900))]) for _ in range(3)]
    return pairs


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, list[str]]]:
    return _random_pairs()


def squad_normalize(answer: str) -> str:
    """``normalize_answer`` of the official SQuAD v1.1 evaluation script."""
    lowered = answer.lower()
    without_punctuation = "".join(ch for ch in lowered if ch not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", without_punctuation).split())


def squad_f1(prediction: str, ground_truth: str) -> float:
    """``f1_score`` of the official SQuAD v1.1 evaluation script."""
    prediction_tokens = squad_normalize(prediction).split()
    ground_truth_tokens = squad_normalize(ground_truth).split()
    num_same = sum((Counter(prediction_tokens) & Counter(ground_truth_tokens)).values())
    if num_same == 0:
        return 0
    precision = 1.0 * num_same / len(prediction_tokens)
    recall = 1.0 * num_same / len(ground_truth_tokens)
    return (2 * precision * recall) / (precision + recall)


def test_exact_match_and_f1_equal_the_official_squad_script(pairs):
    for answer, truths in pairs:
        expected = max(float(squad_normalize(answer) == squad_normalize(truth)) for truth in truths)
        assert metrics.exact_match(answer, truths) == expected
        assert metrics.f1(answer, truths) == pytest.approx(max(squad_f1(answer, t) for t in truths), abs=TOLERANCE)


def test_rouge_equals_rouge_score(pairs):
    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=False)
    for answer, truths in pairs:
        expected = scorer.score_multi(truths, answer)
        found = metrics.rouge(answer, truths)
        assert found == pytest.approx(
            {
                "rouge_1": expected["rouge1"].fmeasure,
                "rouge_2": expected["rouge2"].fmeasure,
                "rouge_l": expected["rougeL"].fmeasure,
            },
            abs=TOLERANCE,
        )


def test_bleu_and_chrf_of_a_line_equal_sacrebleu(pairs):
    for answer, truths in pairs:
        bleu = metrics.bleu(metrics.bleu_statistics(answer, truths))
        chrf = metrics.chrf(metrics.chrf_statistics(answer, truths))
        assert bleu == pytest.approx(sacrebleu.sentence_bleu(answer, truths).score, abs=TOLERANCE)
        assert chrf == pytest.approx(sacrebleu.sentence_chrf(answer, truths).score, abs=TOLERANCE)


def test_bleu_and_chrf_of_a_run_equal_sacrebleu(pairs):
    answers = [answer for answer, _ in pairs]
    most = max(len(truths) for _, truths in pairs)
    references = [[truths[i] if i < len(truths) else None for _, truths in pairs] for i in range(most)]
    bleu = [metrics.bleu_statistics(answer, truths) for answer, truths in pairs]
    chrf = [metrics.chrf_statistics(answer, truths) for answer, truths in pairs]
    corpus_bleu = metrics.bleu([sum(column) for column in zip(*bleu, strict=True)], corpus=True)
    corpus_chrf = metrics.chrf([sum(column) for column in zip(*chrf, strict=True)])
    assert corpus_bleu == pytest.approx(sacrebleu.corpus_bleu(answers, references).score, abs=TOLERANCE)
    assert corpus_chrf == pytest.approx(sacrebleu.corpus_chrf(answers, references).score, abs=TOLERANCE)


@given(st.text(), st.text())
@settings(max_examples=500)
def test_squad_tokens_equal_the_official_normalisation_on_any_text(answer, truth):
    assert " ".join(text.squad_tokens(answer)) == squad_normalize(answer)
    assert metrics.f1(answer, [truth]) == pytest.approx(squad_f1(answer, truth), abs=TOLERANCE)


@given(st.text(st.sampled_from(string.printable[10:95])), st.text(st.sampled_from(string.printable[10:95])))
@settings(max_examples=300)
def test_on_ascii_without_digits_the_unicode_metrics_equal_the_squad_metrics(answer, truth):
    assert metrics.f1_unicode(answer, [truth]) == metrics.f1(answer, [truth])
    assert metrics.exact_match_unicode(answer, [truth]) == metrics.exact_match(answer, [truth])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("f1", 0.75), ("rouge_1", 0.6667), ("rouge_2", 0.4), ("rouge_l", 0.6667), ("bleu", 26.2691), ("chrf", 51.8483)],
)
def test_known_figures_of_an_english_pair(name, expected):
    assert _all_metrics("The cat sat on the mat.", "A cat is on the mat")[name] == pytest.approx(expected, abs=5e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("f1", 0.0), ("rouge_1", 0.0), ("rouge_2", 0.0), ("rouge_l", 0.0), ("chrf", 46.29), ("f1_unicode", 1.0)],
)
def test_known_figures_of_a_chinese_pair(name, expected):
    found = _all_metrics("北京是中国的首都。", "中国的首都是北京")[name]
    assert found == pytest.approx(expected, abs=5e-3)


def _all_metrics(answer: str, truth: str) -> dict[str, float]:
    return {
        "f1": metrics.f1(answer, [truth]),
        **metrics.rouge(answer, [truth]),
        "bleu": metrics.bleu(metrics.bleu_statistics(answer, [truth])),
        "chrf": metrics.chrf(metrics.chrf_statistics(answer, [truth])),
        "f1_unicode": metrics.f1_unicode(answer, [truth]),
    }
