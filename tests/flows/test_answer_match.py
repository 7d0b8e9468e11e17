"""The evaluation flow answer_match: its tokens, its values, and the flow as promptflow's executor runs it."""

from __future__ import annotations

import asyncio
import math
import random
import string
import unicodedata
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phi3flow.flows import load_flow, open_flow
from phi3flow.flows.observed import ObservedLine
from tests.support.flows.answer_match import FLOW, metrics, score_line, text

WRITTEN_LIKE_LISTS = [
    '["red", "green"]',
    "['red', 'green']",
    "[1, 2]",
    "[]",
    '["it\'s"]',
    "[see the manual]",
    '{"a": 1}',
]


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("북한산은 높다.", unicodedata.normalize("NFD", "북한산은 높다")),
        ("café", "cafe\u0301"),
        ("1990–1995", "1990-1995"),
        ("保修期为三年。", "保修期为三年"),
        ("ﾊﾞｯﾃﾘｰは５時間", "バッテリーは5時間"),
        ("STRASSE", "straße"),
        ("«Oui», dit-elle…", "oui dit-elle"),
        ("مرحبا، العالم؟", "مرحبا العالم"),
        ("wait\u200bing ❤\ufe0f", "waiting ❤"),
        ("€5", "5"),
    ],
)
def test_unicode_tokens_ignore_form_case_and_punctuation(answer, truth):
    assert metrics.exact_match_unicode(answer, [truth]) == 1.0


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("한국어 2개", ["한", "국", "어", "2", "개"]),
        ("ภาษาไทย", ["ภ", "า", "ษ", "า", "ไ", "ท", "ย"]),
        ("The iPhone手机", ["iphone", "手", "机"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("ok 👍", ["ok", "👍"]),
    ],
)
def test_scripts_without_spaces_are_cut_by_character(written, tokens):
    assert text.unicode_tokens(written) == tuple(tokens)


def test_unicode_f1_sees_the_characters_that_two_chinese_answers_share():
    assert metrics.f1_unicode("北京", ["南京"]) == pytest.approx(0.5)
    assert metrics.f1("北京", ["南京"]) == 0.0


@given(st.text())
@example("0À²")
def test_unicode_tokens_are_the_same_for_every_normal_form(written):
    tokens = text.unicode_tokens(written)
    raised = any(unicodedata.category(character) == "No" for character in written)  # 10² is 102 in NFKC
    for form in ("NFC", "NFD") if raised else ("NFC", "NFD", "NFKC", "NFKD"):
        assert text.unicode_tokens(unicodedata.normalize(form, written)) == tokens


def test_unicode_punctuation_is_ascii_punctuation_on_ascii():
    dropped = [chr(code) for code in range(33, 127) if not text.unicode_tokens(chr(code)) and chr(code) not in "aA"]
    assert dropped == sorted(string.punctuation)


def test_value_accuracy_needs_every_value_and_is_absent_without():
    assert metrics.value_accuracy("2 years, 49 euros", ["2 years", "49"]) == 1.0
    assert metrics.value_accuracy("2 years", ["2 years", "49"]) == 0.0
    assert metrics.value_accuracy("2 years", []) is None


@pytest.mark.parametrize(
    ("column", "truths"),
    [
        ("Paris", ["Paris"]),
        (["Paris", "paris, 'France'"], ["Paris", "paris, 'France'"]),
        ([42, "forty-two"], ["42", "forty-two"]),
        (42, ["42"]),
        ("1.10", ["1.10"]),
        ("", [""]),
        ([""], [""]),
        *((written, [written]) for written in WRITTEN_LIKE_LISTS),
    ],
)
def test_ground_truth_is_a_text_or_a_list_of_texts(column, truths):
    assert score_line.read_ground_truths(column) == truths


@pytest.mark.parametrize("column", [None, [None], ["Paris", ["Lutetia"]], {"text": "Paris"}])
def test_a_ground_truth_that_is_no_text_is_an_error(column):
    with pytest.raises(ValueError, match="it is a text, or a list of texts"):
        score_line.read_ground_truths(column)


def test_an_empty_list_of_ground_truths_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        score_line.read_ground_truths([])


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3), st.booleans())
def test_scores_are_within_their_ranges(answer, truths, is_right):
    answer = truths[0] if is_right else answer
    counts = metrics.bleu_statistics(answer, truths)
    shares = [metrics.f1(answer, truths), metrics.f1_unicode(answer, truths), *metrics.rouge(answer, truths).values()]
    assert all(0.0 <= share <= 1.0 for share in shares)
    for score in (
        metrics.bleu(counts),
        metrics.bleu(counts, corpus=True),
        metrics.chrf(metrics.chrf_statistics(answer, truths)),
    ):
        assert 0.0 <= score <= 100.0


def test_bleu_of_a_right_answer_is_100():
    assert metrics.bleu(metrics.bleu_statistics("It is a long right answer.", ["It is a long right answer."])) == 100.0


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_longest_common_subsequence_equals_the_textbook_table(left, right):
    table = [[0] * (len(right) + 1) for _ in range(len(left) + 1)]
    for i, one in enumerate(left):
        for j, other in enumerate(right):
            table[i + 1][j + 1] = table[i][j] + 1 if one == other else max(table[i][j + 1], table[i + 1][j])
    assert metrics._longest_common_subsequence(left, right) == table[-1][-1]


def test_a_very_long_answer_is_scored():
    words = random.Random(0).choices(string.ascii_lowercase, k=100_000)
    scores = metrics.rouge(" ".join(words), [" ".join(words[::7])])
    assert scores["rouge_l"] == pytest.approx(2 / (1 + 100_000 / len(words[::7])))


@pytest.fixture(scope="module")
def executed() -> dict[str, Any]:
    """Three lines and their aggregation, run by promptflow's executor."""
    lines = [
        {"answer": "Paris.", "ground_truth": "Paris", "question": "q", "values": ["Paris"]},
        {"answer": "It is Rome", "ground_truth": ["Roma", "Rome"], "values": []},
        {"answer": "", "ground_truth": "Berlin"},
        *({"answer": written, "ground_truth": written} for written in WRITTEN_LIKE_LISTS),
        {"answer": "1.1", "ground_truth": "1.10"},
    ]
    with open_flow(load_flow(FLOW), connections=_no_connection) as session:
        done = [asyncio.run(session.exec_line(line, line_number=number)) for number, line in enumerate(lines)]
        inputs = [{name: line[name] for name in ("answer", "ground_truth")} for line in lines]
        logged, raised = session.exec_aggregation(inputs, done, ObservedLine())
    assert raised is None
    return {"lines": [line.outputs for line in done], "metrics": logged}


def _no_connection(name: str) -> dict[str, Any]:
    raise AssertionError(f"answer_match needs no connection, but asked for {name}")


def test_the_flow_gives_each_line_every_metric(executed):
    first, second, third, *_ = executed["lines"]
    assert list(first) == list(load_flow(FLOW).definition["outputs"])
    assert first["exact_match"] == first["f1"] == first["value_accuracy"] == 1.0
    assert second["f1"] == pytest.approx(0.5)
    assert second["value_accuracy"] is None
    assert third["f1"] == third["bleu"] == third["chrf"] == third["f1_unicode"] == 0.0


def test_a_text_that_is_written_like_a_list_or_a_number_reaches_the_flow_as_a_text(executed):
    matches = [line["exact_match"] for line in executed["lines"][3:]]
    assert matches == [1.0] * len(WRITTEN_LIKE_LISTS) + [0.0]


def test_the_flow_logs_means_without_absent_scores_and_corpus_metrics(executed):
    logged, lines = executed["metrics"], executed["lines"]
    assert logged["value_accuracy"] == 1.0
    for name in load_flow(FLOW).definition["outputs"]:
        present = [line[name] for line in lines if line[name] is not None]
        assert logged[name] == pytest.approx(math.fsum(present) / len(present))
    assert set(logged) - set(load_flow(FLOW).definition["outputs"]) == {"corpus_bleu", "corpus_chrf"}
