"""A real Chromium that opens reports from disk and remembers what went wrong on the page.

Without a browser these tests are skipped, with the reason; where CI or PHI3FLOW_REQUIRE_BROWSER is set they fail.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.records.training import TrainingRecord
from phi3flow.report import write_report
from phi3flow.runs.folder import RunFolder
from tests.support.requirements import unavailable

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")


@dataclass
class OpenedReport:
    """A page with a report, and everything that it complained about or asked for."""

    page: Any
    address: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def texts(self, selector: str) -> list[str]:
        """Return the visible text of each element, on one line."""
        return [" ".join(text.split()) for text in self.page.locator(selector).all_inner_texts()]

    def questions(self) -> list[str]:
        """Return the questions of the lines that exist on the page, in reading order."""
        return self.texts(".line .line-text")

    def choose(self, label: str) -> None:
        """Press the filter with this label."""
        self.page.get_by_role("group", name="Show").get_by_role("button", name=label).click()


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One browser a worker, with an empty profile and a HOME of its own."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("playwright is not installed: pip install playwright", requirement="BROWSER")
    executable = next((found for found in map(shutil.which, _NAMES) if found), None)
    with sync_playwright() as playwright:
        bundled = playwright.chromium.executable_path
        if not executable and not Path(bundled).is_file():
            unavailable(
                "no Chromium was found: apt-get install chromium, or playwright install chromium", requirement="BROWSER"
            )
        home = tmp_path_factory.mktemp("browser-home")
        browser = playwright.chromium.launch(
            executable_path=executable or bundled, args=list(_ARGUMENTS), env={**os.environ, "HOME": str(home)}
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., OpenedReport]]:
    """Open an HTML file from disk; the test fails at its end where the page complained or asked for anything."""
    opened: list[OpenedReport] = []
    contexts = []

    def open_(path: Path, *, fragment: str = "", **settings: Any) -> OpenedReport:
        settings.setdefault("viewport", {"width": 1280, "height": 900})
        contexts.append(chromium.new_context(**settings))
        report = OpenedReport(contexts[-1].new_page(), path.as_uri())
        report.page.on("console", lambda message: report.complaints.append(message.text))
        report.page.on("pageerror", lambda error: report.complaints.append(str(error)))
        report.page.on("dialog", lambda dialog: (report.complaints.append(dialog.message), dialog.dismiss()))
        report.page.on("request", lambda request: report.requests.append(request.url))
        report.page.goto(path.as_uri() + fragment)
        opened.append(report)
        return report

    yield open_
    for report in opened:
        assert report.complaints == []
        assert [url for url in report.requests if url.partition("#")[0] != report.address] == []
    for context in contexts:
        context.close()


@pytest.fixture
def open_report(open_page: Callable[..., OpenedReport], tmp_path: Path) -> Callable[..., OpenedReport]:
    """Write the report of runs (the first is the baseline) and open it at its lines."""

    def open_(
        *runs: RunFolder, training: Sequence[TrainingRecord] = (), by: Sequence[str] = (), **settings: Any
    ) -> OpenedReport:
        comparable = [run for run in runs[1:] if set(run.evaluations()) & set(runs[0].evaluations())]
        comparisons = [compare_runs(runs[0], run, by=by) for run in comparable]
        output = tmp_path / "report.html"
        path = write_report(runs, comparison=comparisons, training=training, by=by, output=output)
        return open_page(path, **{"fragment": "#lines"} | settings)

    return open_


def wait_for_text(page: Any, selector: str, text: str) -> None:
    """Wait until the element holds the text; unlike wait_for_function, this needs no eval, which the policy forbids."""
    from playwright.sync_api import expect

    expect(page.locator(selector)).to_contain_text(text)
