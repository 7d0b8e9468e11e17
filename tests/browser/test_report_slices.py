"""Slices of a report: their tables, their warning, and the lines behind one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.runs.folder import RunFolder
from phi3flow.stats import estimate_mean
from tests.browser.conftest import OpenedReport, wait_for_text
from tests.support.folders.run_folders import line, write_run

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]

KINDS = ["setup", "billing", "setup"]
LINES = 90


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    """Two runs of 90 lines: of kind setup all become better, of kind billing none changes."""
    rows = [{"kind": KINDS[number % 3], "question": f"question {number}"} for number in range(LINES)]
    results = [line(number, "answer", question=f"question {number}") for number in range(LINES)]
    before = [number % 7 / 10 for number in range(LINES)]
    after = [score + 0.25 * (row["kind"] == "setup") for score, row in zip(before, rows, strict=True)]
    return tuple(  # type: ignore[return-value]
        write_run(tmp_path / name, results, rows=rows, scores={"answer_match": {"f1": scores}})
        for name, scores in (("base", before), ("tuned", after))
    )


def test_a_comparison_shows_the_difference_within_each_slice(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    compared = {one.value: one for one in compare_runs(*runs, by=["kind"]).slices}
    report = open_report(*runs, by=["kind"], fragment="#slices")
    rows = {text.split()[0]: text for text in report.texts(".slices tbody tr")}
    assert list(rows) == list(compared) == ["setup", "billing"]
    assert rows["setup"].startswith("setup better 60 ")
    assert "+0.250" in rows["setup"]
    assert "▲ 60 ▼ 0 = 0" in rows["setup"]
    assert "▲ 0 ▼ 0 = 30" in rows["billing"]
    assert "f1 by kind, tuned against base" in report.texts(".slices caption")[0]
    drawn = report.page.locator(".slices tbody .drawn svg[role=img]")
    assert drawn.count() == 2
    assert "difference +0.250" in drawn.first.get_attribute("aria-label")
    assert report.page.get_by_text("Mind:").count() == 0


def test_a_slices_name_leads_to_its_lines_and_the_address_keeps_it(
    open_report: Open, open_page: Callable[..., OpenedReport], runs: tuple[RunFolder, ...], tmp_path: Path
) -> None:
    report = open_report(*runs, by=["kind"], fragment="")
    report.page.get_by_role("link", name="billing").click()
    wait_for_text(report.page, "#shown-count", "30 of 90 lines")
    assert report.page.locator("#slice").input_value() == "kind: billing"
    assert report.questions()[:2] == ["question 1", "question 4"]
    assert report.page.locator("#lines-title").bounding_box()["y"] < 200
    report.choose("Ties")
    assert report.texts("#shown-count") == ["30 of 90 lines"]
    again = open_page(tmp_path / "report.html", fragment=report.page.url[report.page.url.index("#") :])
    assert again.texts("#shown-count") == ["30 of 90 lines"]
    again.page.get_by_role("combobox", name="Slice").select_option(label="kind: setup")
    again.choose("Wins")
    assert again.texts("#shown-count") == ["60 of 90 lines"]


def test_a_single_runs_slices_are_means_with_their_intervals(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(runs[0], by=["kind", "question.length"], fragment="#slices")
    scores = [score.scores["f1"] for score in runs[0].scores("answer_match")]
    expected = estimate_mean([scores[number] for number in range(LINES) if number % 3 == 1])
    row = next(text for text in report.texts(".slices tbody tr") if text.startswith("billing"))
    assert row == f"billing 30 {expected.mean:.3f} [{expected.low:.3f}, {expected.high:.3f}]"
    assert len(report.texts(".slices")) == 2
    assert re.search(r"f1 by question.length: means", report.texts(".slices caption")[1])


def test_small_slices_are_warned_of(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs, by=["question.length"], fragment="#slices")
    assert "have fewer than 30 lines" in report.texts("#slices .caution")[0]
    single = open_report(runs[0], by=["question.length"], fragment="#slices")
    assert "have fewer than 30 lines: their intervals are wide" in single.texts("#slices .caution")[0]


def test_failed_lines_of_a_slice_are_counted_beside_it(open_report: Open, tmp_path: Path) -> None:
    rows = [{"kind": "a"}, {"kind": "a"}, {"kind": "b"}]
    results = [line(0, "x"), line(1, None), line(2, "y")]
    run = write_run(tmp_path / "run", results, rows=rows, scores={"e": {"f1": [0.5, 0.0, 1.0]}})
    report = open_report(run, by=["kind"], fragment="#slices")
    assert report.texts(".slices tbody tr")[0].startswith("a 2 ✕ 1 failed 0.250")
