"""Run names from folder names of any kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.runs.run_name import fit_run_name, is_run_name


@given(st.text(min_size=1, max_size=300))
def test_any_text_becomes_a_name_with_room_for_a_fingerprint(text: str) -> None:
    name = fit_run_name(text)
    assert is_run_name(name)
    assert is_run_name(f"{name}-12345678")
    assert name == text if is_run_name(text) and len(text) <= 100 else name != text
    assert fit_run_name(name) == name


@given(st.lists(st.text("aB1 ._-日é🚀/", min_size=1, max_size=8), unique=True))
def test_two_texts_have_two_names(texts: list[str]) -> None:
    assert len({fit_run_name(text) for text in texts}) == len(texts)


@pytest.mark.parametrize("text", ["chat_phi3", "my.flow-2", "7", "a" * 100])
def test_a_text_that_fits_is_the_name(text: str) -> None:
    assert fit_run_name(text) == text


def test_what_can_stay_of_another_stays() -> None:
    assert fit_run_name("my flow").startswith("my-flow-")
    assert len(fit_run_name("日本")) == 8
