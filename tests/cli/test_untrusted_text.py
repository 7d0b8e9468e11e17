"""Text of models and data, as a terminal, a reader of JSON and a pipeline's agent get it: none of it drives them."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.table import Table

from phi3flow.cli.terminal.terminal import Terminal

COMMANDS = ["::error::x", "\n::error::y", "##vso[task.setvariable variable=a]b", "x ##[error]y", " \t::add-mask::z"]
DRIVING = ["\x1b]52;c;aGk=\x07", "\x1b[2J", "\u202e", "\x9b31m", "\u200b", "\r", "\U000e0041", *COMMANDS]
TEXTS = st.lists(st.one_of(st.text(), st.sampled_from(DRIVING)), max_size=5).map("".join)


def _is_driving(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf") and character not in "\n\t"


def _outputs(text: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what is printed where the text is a result, a remark, an error, and a cell of a table."""
    table = Table("name", "value")
    table.add_row(text, "1")
    printed = []
    for write in (
        lambda: Terminal().result({}, text),
        lambda: Terminal().note(text),
        lambda: Terminal().error(text),
        lambda: Terminal().result({}, table),
    ):
        write()
        captured = capsys.readouterr()
        printed.append(captured.out + captured.err)
    return printed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_no_text_drives_a_terminal(capsys: pytest.CaptureFixture[str], text: str) -> None:
    for printed in _outputs(text, capsys):
        assert not any(map(_is_driving, printed)), printed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS.filter(lambda text: text.isprintable() or "\n" in text))
@pytest.mark.parametrize("variable", ["GITHUB_ACTIONS", "TF_BUILD"])
def test_no_text_drives_a_pipeline(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str, text: str
) -> None:
    monkeypatch.setenv(variable, "true")
    for printed in _outputs(text, capsys):
        assert "##vso[" not in printed
        assert "##[" not in printed
        assert not any(line.lstrip().startswith("::") for line in printed.split("\n"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXTS)
def test_json_says_the_same_and_drives_nothing(capsys: pytest.CaptureFixture[str], text: str) -> None:
    Terminal(json_output=True).result({"value": text, text: 1})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"value": text, text: 1}
    assert not any(_is_driving(character) for character in printed)
    assert "##vso[" not in printed
    assert "##[" not in printed
    assert printed.count("\n") == 1


def test_outside_of_a_pipeline_words_stay_as_they_are(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GITHUB_ACTIONS", "TF_BUILD"):
        monkeypatch.delenv(name, raising=False)
    Terminal().note("::x ##[y]")
    assert capsys.readouterr().err == "::x ##[y]\n"
