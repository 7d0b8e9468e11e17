"""Saving the lines that a report shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phi3flow.runs.folder import RunFolder
from tests.browser.conftest import OpenedReport
from tests.support.folders.run_folders import line, write_run

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]

HISTORY = [{"inputs": {"question": "Hello?"}, "outputs": {"answer": "Hello!"}}]


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    """Two runs of four lines: a win, a loss, a tie and a line that failed in the second."""
    rows = [{"ground_truth": f"truth {n}", "values": ["v"], "context": "c", "kind": "ab"[n % 2]} for n in range(4)]

    def write(name: str, answers: list[str | None], f1: list[float | None]) -> RunFolder:
        results = [
            line(n, answer, question=f"question {n}", usage=(10, 5), chat_history=HISTORY)
            for n, answer in enumerate(answers)
        ]
        return write_run(tmp_path / name, results, rows=rows, scores={"answer_match": {"f1": f1}})

    return (
        write("base", ["a", "<b>", "c\u2028c", "d"], [0.0, 1.0, 0.5, 0.5]),
        write("tuned run", ["A", "B", "C", None], [1.0, 0.0, 0.5, None]),
    )


def exported(report: OpenedReport, tmp_path: Path, press: Callable[[], None]) -> tuple[str, list[dict[str, Any]]]:
    """Return the name and the rows of the file that ``press`` makes the page save."""
    with report.page.expect_download() as download:
        press()
    path = tmp_path / "saved.jsonl"
    download.value.save_as(path)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return download.value.suggested_filename, [json.loads(row) for row in text[:-1].split("\n")]


def test_the_lines_shown_are_saved_as_json_lines(
    open_report: Open, runs: tuple[RunFolder, ...], tmp_path: Path
) -> None:
    report = open_report(*runs, by=["kind"])
    report.page.get_by_label("Sort").select_option(label="Difference: greatest loss first")
    name, rows = exported(report, tmp_path, report.page.get_by_role("button", name="Export").click)
    assert name == "base-tuned_run-all.jsonl"
    assert [row["line_number"] for row in rows] == [1, 2, 0, 3]
    assert [row["outcome"] for row in rows] == ["loss", "tie", "win", "failed"]
    first = runs[0].results()[1]
    assert rows[0] == {
        "line_number": 1,
        "line_id": first.line_id,
        "outcome": "loss",
        "question": "question 1",
        "chat_history": [{"role": "user", "content": "Hello?"}, {"role": "assistant", "content": "Hello!"}],
        "context": ["c"],
        "ground_truth": ["truth 1"],
        "values": ["v"],
        "slices": {"kind": "b"},
        "runs": {
            name: {
                "answer": answer,
                "error": None,
                "latency_ms": 120,
                "attempts": 1,
                "usage": {"prompt_tokens": 10, "completion_tokens": 5},
                "scores": {"answer_match.f1": score},
                "texts": {},
            }
            for name, answer, score in (("base", "<b>", 1), ("tuned run", "B", 0))
        },
    }
    assert rows[1]["runs"]["base"]["answer"] == "c\u2028c"
    assert rows[3]["runs"]["tuned run"]["answer"] is None
    assert rows[3]["runs"]["tuned run"]["error"] == {
        "type": "EndpointError",
        "message": "the endpoint answered 503",
        "status_code": 503,
    }


def test_only_what_the_filter_shows_is_saved_and_the_keyboard_saves_it(
    open_report: Open, runs: tuple[RunFolder, ...], tmp_path: Path
) -> None:
    report = open_report(*runs)
    report.choose("Wins")
    for _ in range(30):
        report.page.keyboard.press("Tab")
        if report.page.evaluate("document.activeElement.id") == "export":
            break
    name, rows = exported(report, tmp_path, lambda: report.page.keyboard.press("Enter"))
    assert name == "base-tuned_run-win.jsonl"
    assert [row["line_number"] for row in rows] == [0]


def test_a_line_of_one_run_only_is_null_in_the_other(open_report: Open, tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [line(0, "a")])
    second = write_run(tmp_path / "second", [line(0, "a"), line(1, "b", line_id="own#1")], rows=[{}] * 2)
    report = open_report(first, second)
    _, rows = exported(report, tmp_path, report.page.get_by_role("button", name="Export").click)
    assert rows[1]["runs"]["first"] is None
    assert rows[1]["line_id"] == "own#1"


def test_repeated_lines_keep_their_whole_ids(open_report: Open, tmp_path: Path) -> None:
    ids = ["a" * 64, "a" * 64 + "#2", "b" * 64]
    run = write_run(tmp_path / "run", [line(n, "x", line_id=name) for n, name in enumerate(ids)])
    report = open_report(run)
    _, rows = exported(report, tmp_path, report.page.get_by_role("button", name="Export").click)
    assert [row["line_id"] for row in rows] == ids


def test_a_text_that_the_file_does_not_hold_whole_is_named(open_report: Open, tmp_path: Path) -> None:
    report = open_report(write_run(tmp_path / "run", [line(0, "x" * 21_500), line(1, "y")]))
    _, rows = exported(report, tmp_path, report.page.get_by_role("button", name="Export").click)
    assert rows[0]["cut"] == ["answer"]
    assert len(rows[0]["runs"]["run"]["answer"]) == 20_000
    assert "cut" not in rows[1]
