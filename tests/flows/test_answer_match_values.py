"""How answer_match reads numbers: which values an answer states, and which numbers are one to the Unicode metrics."""

from __future__ import annotations

import time
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phi3flow.storage.jsonl import read_rows
from tests.support.flows.answer_match import metrics, text
from tests.support.flows.stated_values import NOT_STATED, STATED
from tests.support.paths import ROOT

INTEGERS = st.integers(-(10**12), 10**12)


@pytest.mark.parametrize(("answer", "value"), STATED)
def test_an_answer_states_a_value(answer: str, value: str) -> None:
    assert text.holds_value(answer, value)


@pytest.mark.parametrize(("answer", "value"), NOT_STATED)
def test_an_answer_does_not_state_a_value(answer: str, value: str) -> None:
    assert not text.holds_value(answer, value)


@pytest.mark.parametrize("value", sorted({value for _, value in STATED + NOT_STATED}))
@pytest.mark.parametrize("around", ["{}", "It is {}.", "({})", "a: {}, b", "答えは「{}」です", "{}!", "\n{}\n"])
def test_a_value_states_itself_in_any_sentence(value: str, around: str) -> None:
    assert text.holds_value(around.format(value), value)


@given(st.text(), st.text(st.characters(categories=["L", "N"]), min_size=1), st.text())
def test_a_value_that_stands_apart_is_found(before: str, value: str, after: str) -> None:
    assert text.holds_value(f"{before} | {value} | {after}", value)


@given(INTEGERS, st.sampled_from([",", " ", "\u00a0", "\u202f", "'", "_"]), st.sampled_from(["", ".0", ",00"]))
def test_a_number_is_itself_with_any_separator_and_no_other(number: int, separator: str, decimals: str) -> None:
    written = f"{number:,}".replace(",", separator) + (decimals if separator != "," else "")
    assert text.holds_value(f"It is {written} km", str(number))
    assert text.holds_value(f"It is {number}km", f"{written} km")
    for other in (number + 1, number * 10, number // 10, -number):
        assert other == number or not text.holds_value(f"It is {written} km", str(other))


@given(st.decimals(-(10**9), 10**9, places=4), st.decimals(-(10**9), 10**9, places=2))
def test_two_decimal_numbers_are_one_where_they_are_equal(one: Decimal, other: Decimal) -> None:
    for decimal in (one, other):
        assert text.holds_value(f"{decimal:f}".replace(".", ","), f"{decimal.normalize():f}")
    assert text.holds_value(f"{one:f}", f"{other:f}") == (one == other)


@given(INTEGERS, st.integers(0, 10**6), st.sampled_from("-/:–~"))
def test_a_number_that_a_sign_joins_to_digits_is_no_number(number: int, other: int, joint: str) -> None:
    assert not text.holds_value(f"{number}{joint}{other}", str(number))
    assert text.holds_value(f"{number} {joint} {other}", str(number))


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
@example("$A0")
def test_ascii_which_is_read_faster_is_read_alike(written: str) -> None:
    assert text._stated_words(f"{written} | é").splitlines() == [
        *(text._stated_words(written).splitlines() or [""]),
        "|",
        "é",
    ]
    assert text.unicode_tokens(f"{written} | é") == (*text.unicode_tokens(written), "é")


@pytest.mark.parametrize("value", ["", " ", "\u200b", "\n"])
def test_a_value_without_text_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="says nothing"):
        metrics.value_accuracy("anything", ["5", value])


@pytest.mark.parametrize(("value", "answer"), [(5, "5 kg"), (1.5, "1,50"), (-3, "−3"), (1e22, "10" + "0" * 21)])
def test_a_value_may_be_a_number(value: float, answer: str) -> None:
    assert metrics.value_accuracy(answer, [value]) == 1.0


@pytest.mark.parametrize("value", [True, None, ["5"], {"value": "5"}])
def test_a_value_that_is_no_text_and_no_number_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match="values holds"):
        metrics.value_accuracy("5", [value])


def test_every_ground_truth_of_the_sample_data_states_its_own_values() -> None:
    rows = [row for _, row in read_rows(ROOT / "data" / "test_lines.jsonl")]
    assert all(metrics.value_accuracy(row["ground_truth"], row["values"]) in (1.0, None) for row in rows)


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("1,000", "1000"),
        ("1.5", "1,50"),
        ("−5", "-5"),
        ("(-5)", "-5"),
        ("$-5", "-$5"),
        ("+5", "5"),
        ("1.5.", "1.5"),
        ("5", "５"),
        ("3.5年。", "3.5年"),
        ("1990–1995", "1990-1995"),
        ("24-month", "24month"),
        ("PX-5", "px5"),
        ("U.S.A.", "usa"),
        ("e-mail", "email"),
        ("don't", "dont"),
        ("5kg!", "5kg"),
        ("İstanbul", "istanbul"),
    ],
)
def test_unicode_metrics_take_two_ways_to_write_it_for_one(answer: str, truth: str) -> None:
    assert metrics.exact_match_unicode(answer, [truth]) == metrics.f1_unicode(answer, [truth]) == 1.0


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("1.5", "15"),
        ("1,5", "15"),
        (".5", "5"),
        ("(.5)", "5"),
        ("-5", "5"),
        ("−5", "5"),
        ("$-5", "5"),
        ("1/5", "15"),
        ("½", "12"),
        ("1½", "11/2"),
        ("10²", "102"),
        ("10:30", "1030"),
        ("5–10", "510"),
        ("9456-7", "94567"),
        ("1.2.3", "123"),
        ("1e-5", "1e5"),
        ("٣٫٥", "35"),
    ],
)
def test_unicode_metrics_tell_two_numbers_apart(answer: str, truth: str) -> None:
    assert metrics.exact_match_unicode(answer, [truth]) == metrics.f1_unicode(answer, [truth]) == 0.0


@pytest.mark.parametrize(
    "hostile",
    [
        *("1", "1,", "1 234", "1 234 5", "12 123", "1 1/2 ", "1 x 10^", "1_", "1e", "1a", "a-1", "-1", "-+", "-€", "$"),
        *("²", "1²", "é²", "½1", "İ", "\u0301", "—", "한", "a", ".", "no ", "yes no "),
    ],
)
def test_a_long_text_is_read_in_linear_time(hostile: str) -> None:
    long = hostile * (200_000 // len(hostile))
    begun = time.process_time()
    for value in ("5", "no"):
        text.holds_value(long, value)
    text.holds_value("5", long)
    metrics.exact_match_unicode(long, ["5"])
    assert time.process_time() - begun < 10
