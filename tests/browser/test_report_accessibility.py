"""A report for everybody: axe finds nothing serious, and the keyboard reaches every control and shows where it is."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phi3flow.runs.folder import RunFolder
from tests.browser.conftest import OpenedReport
from tests.support.folders.run_folders import line, write_run
from tests.support.folders.training_records import service_training_record, training_record
from tests.support.requirements import unavailable

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]

LINES = 12
SERIOUS = {"serious", "critical"}


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    found = importlib.util.find_spec("axe_playwright_python")
    if found is None or not found.origin:
        unavailable("axe is not installed: pip install axe-playwright-python", requirement="BROWSER")
    return (Path(found.origin).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    """Two runs in which everything occurs that a page can show: failures, slices, turns, values, tokens."""
    rows = [
        {
            "ground_truth": "truth",
            "values": ["12", "x"],
            "context": "c " * 300,
            "kind": "ab"[n % 2],
            "conversation_id": "c",
        }
        for n in range(LINES)
    ]
    history = [{"inputs": {"question": "Hello?"}, "outputs": {"answer": "Hello!"}}]

    def write(name: str, shift: float) -> RunFolder:
        results = [
            line(n, None if n == 5 else f"{name} 12 {n}", question=f"question {n}", usage=(9, 9), chat_history=history)
            for n in range(LINES)
        ]
        scores = {"f1": [n / 20 + shift for n in range(LINES)], "bleu": [10.0 * (n % 3) for n in range(LINES)]}
        return write_run(tmp_path / name, results, rows=rows, scores={"answer_match": scores})

    return write("base", 0.0), write("tuned", 0.3)


def violations(page: Any, axe: str) -> list[str]:
    """Return what axe calls serious or critical, with the first element of each."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] })")["violations"]
    return [
        f"{one['id']} ({one['impact']}): {one['help']}: {[node['html'][:200] for node in one['nodes'][:3]]}"
        for one in found
        if one["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_serious_with_a_line_open(
    open_report: Open, runs: tuple[RunFolder, ...], axe: str, scheme: str, width: int
) -> None:
    report = open_report(
        *runs,
        training=[training_record(), service_training_record()],
        by=["kind"],
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
    )
    report.page.get_by_role("searchbox").fill("12")
    report.page.locator(".line-question button").nth(2).click()
    for summary in report.page.locator("details > summary").all():
        summary.click()
    assert report.page.locator(".line.open").count() == 1
    assert violations(report.page, axe) == []


def test_axe_finds_nothing_serious_about_a_single_run(open_report: Open, runs: tuple[RunFolder, ...], axe: str) -> None:
    report = open_report(runs[0], by=["kind"])
    report.page.keyboard.press("j")
    assert violations(report.page, axe) == []


def test_axe_would_find_a_control_without_a_name(open_report: Open, runs: tuple[RunFolder, ...], axe: str) -> None:
    report = open_report(runs[0])
    report.page.evaluate("document.getElementById('main').append(document.createElement('button'))")
    assert "button-name" in " ".join(violations(report.page, axe))


def test_the_keyboard_reaches_every_control_and_shows_where_it_is(
    open_report: Open, runs: tuple[RunFolder, ...]
) -> None:
    report = open_report(*runs, by=["kind"], fragment="")
    report.page.keyboard.press("j")
    report.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    controls = report.page.evaluate(
        """() => [...document.querySelectorAll("a[href], button, input, select, summary, [tabindex='0']")]
            .filter((one) => one.checkVisibility() && !one.closest(".line:not(.open)"))  // those come and go
            .map((one, k) => { one.dataset.control = k; return one.outerHTML.slice(0, 80); })"""
    )
    reached, bare = set(), []
    for _ in range(2 * len(controls)):
        report.page.keyboard.press("Tab")
        here = report.page.evaluate(
            """() => {
                const { activeElement: one } = document;
                const { outlineStyle, outlineWidth } = getComputedStyle(one);
                return [one.dataset.control ?? null, outlineStyle !== "none" && parseFloat(outlineWidth) > 0];
            }"""
        )
        if here[0] is None:
            continue
        if here[0] in reached:
            break
        reached.add(here[0])
        if not here[1]:
            bare.append(controls[int(here[0])])
    assert [text for k, text in enumerate(controls) if str(k) not in reached] == []
    assert bare == []


def test_every_control_has_a_name_for_a_screen_reader(open_report: Open, runs: tuple[RunFolder, ...]) -> None:
    report = open_report(*runs, by=["kind"], fragment="")
    report.page.keyboard.press("j")
    for role in ("button", "link", "combobox", "searchbox", "region", "navigation", "article"):
        assert report.page.get_by_role(role).count() > 0
        for one in report.page.get_by_role(role).all():
            assert one.aria_snapshot().strip() not in (f"- {role}", f"- {role}:"), one.evaluate("e => e.outerHTML")[
                :200
            ]
    drawn = report.page.locator("svg:not(svg svg):not([aria-hidden])")
    assert drawn.count() > 0
    assert drawn.count() == report.page.locator("svg[role=img][aria-label]").count()
