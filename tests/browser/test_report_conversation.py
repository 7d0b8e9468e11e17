"""An open line as a turn of its conversation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder
from tests.browser.conftest import OpenedReport, wait_for_text
from tests.support.folders.run_folders import line, write_run

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Four lines: three turns of one conversation around a line of another."""
    conversations = ["c1", "other", "c1", "c1"]
    turns = [[], [], [("q0", "a0")], [("q0", "a0"), ("q2", "a2")]]
    results = [
        line(
            number,
            f"answer {number}",
            question=f"q{number}",
            chat_history=[{"inputs": {"question": q}, "outputs": {"answer": a}} for q, a in turns[number]],
        )
        for number in range(4)
    ]
    return write_run(tmp_path / "run", results, rows=[{"conversation_id": name} for name in conversations])


def test_the_history_is_shown_as_turns(open_report: Open, run: RunFolder) -> None:
    report = open_report(run)
    report.page.get_by_role("button", name="q3").click()
    assert report.texts(".open .history li") == ["User q0", "Assistant a0", "User q2", "Assistant a2"]


def test_links_lead_from_turn_to_turn_of_a_conversation(open_report: Open, run: RunFolder) -> None:
    report = open_report(run)
    report.page.get_by_role("button", name="q2").click()
    assert report.texts(".open .turns") == ["Turn 2 of 3 of this conversation ← previous turn next turn →"]
    report.page.get_by_role("link", name="next turn").click()
    wait_for_text(report.page, ".open .line-text", "q3")
    assert report.texts(".open .turns") == ["Turn 3 of 3 of this conversation ← previous turn"]
    report.page.get_by_role("link", name="previous turn").click()
    wait_for_text(report.page, ".open .line-text", "q2")
    report.page.go_back()
    wait_for_text(report.page, ".open .line-text", "q3")


def test_a_search_is_kept_only_where_it_shows_the_other_turn(open_report: Open, run: RunFolder) -> None:
    report = open_report(run)
    search = report.page.get_by_role("searchbox")
    search.fill("a0")
    report.page.get_by_role("button", name="q2").click()
    report.page.get_by_role("link", name="next turn").click()
    wait_for_text(report.page, ".open .line-text", "q3")
    assert search.input_value() == "a0"
    search.fill("q2")
    report.page.get_by_role("button", name="q2").click()
    report.page.get_by_role("link", name="previous turn").click()
    wait_for_text(report.page, ".open .line-text", "q0")
    assert search.input_value() == ""


def test_the_only_line_of_a_conversation_has_no_turns(open_report: Open, run: RunFolder) -> None:
    report = open_report(run)
    report.page.get_by_role("button", name="q1").click()
    assert report.page.locator(".open").count() == 1
    assert report.page.locator(".turns").count() == 0
