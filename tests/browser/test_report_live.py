"""``phi3flow report --serve``: a page that follows a run, and a server that leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from phi3flow.runs.folder import RunFolder
from tests.browser.conftest import wait_for_text
from tests.support.folders.run_folders import line, write_run

pytestmark = pytest.mark.browser

BEFORE, LINES = 30, 60


@dataclass
class Served:
    """A server process, and pages that were opened of it."""

    process: subprocess.Popen[str]
    url: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, browser: Any, fragment: str = "") -> Any:
        """Open the page and keep what it complains about and asks for."""
        page = browser.new_context(viewport={"width": 1280, "height": 700}).new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.url + fragment)
        return page

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


def result(number: int) -> Any:
    """Return one line; every third answer holds a word that is searched for."""
    return line(number, "rare answer" if number % 3 == 0 else "answer", question=f"question {number}")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run that has answered 30 of its 60 lines."""
    rows = [{"ground_truth": "x"}] * LINES
    return write_run(tmp_path / "runs" / "run", [result(n) for n in range(BEFORE)], rows=rows, status="Running")


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start the verb; what still runs at the test's end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> Served:
        command = [sys.executable, "-m", "phi3flow.cli.main", "report", *arguments, "--serve", "--json"]
        process = subprocess.Popen(
            [*command, "--runs-dir", str(tmp_path / "runs")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        started.append(process)
        assert process.stdout is not None
        return Served(process, json.loads(process.stdout.readline())["url"])

    yield start
    for process in started:
        process.kill()
        process.communicate()


def grow(run: RunFolder, numbers: range) -> None:
    """Append lines as the runner does."""
    with (run.path / "results.jsonl").open("a", encoding="utf-8") as file:
        for number in numbers:
            file.write(result(number).model_dump_json() + "\n")


def test_the_page_follows_the_run_and_keeps_the_readers_place(
    chromium: Any, serve: Callable[..., Served], run: RunFolder
) -> None:
    served = serve("run")
    page = served.open(chromium, "#search=rare&sort=slow")
    page.get_by_role("button", name="question 9").click()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    page.evaluate("document.activeElement.blur()")
    scroll = page.evaluate("scrollY")
    assert scroll > 0
    assert page.locator("#shown-count").inner_text() == "10 of 30 lines"
    grow(run, range(BEFORE, LINES))
    wait_for_text(page, "#shown-count", "20 of 60 lines")
    assert page.get_by_role("searchbox").input_value() == "rare"
    assert page.locator(".open .line-text").inner_text() == "question 9"
    assert page.locator("#sort").input_value() == "slow"
    assert page.evaluate("scrollY") == pytest.approx(scroll, abs=2)
    assert page.evaluate("document.activeElement === document.body")
    assert page.locator("#live").inner_text() == "live"
    assert served.complaints == []
    assert {url.partition("#")[0] for url in served.requests} == {served.url, f"{served.url}version"}


def test_who_types_a_search_goes_on_typing_it(chromium: Any, serve: Callable[..., Served], run: RunFolder) -> None:
    page = serve("run").open(chromium)
    page.get_by_role("searchbox").press_sequentially("rre")
    page.get_by_role("searchbox").press("ArrowLeft")
    page.get_by_role("searchbox").press("ArrowLeft")
    grow(run, range(BEFORE, LINES))
    wait_for_text(page, "#shown-count", "0 of 60 lines")
    page.keyboard.type("a")
    wait_for_text(page, "#shown-count", "20 of 60 lines")


def test_scores_and_what_cannot_be_read_meanwhile(chromium: Any, serve: Callable[..., Served], run: RunFolder) -> None:
    served = serve("run")
    page = served.open(chromium)
    assert "is not scored" in page.locator("h1").inner_text()
    with (run.path / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")  # damaged: the page before stays
        file.flush()
        assert served.process.stderr is not None
        assert "is damaged" in _line_with(served.process.stderr, "damaged")
        assert page.locator("#shown-count").inner_text() == "30 lines"
        file.truncate(file.tell() - 3)
    results = run.results()
    other = write_run(run.path.parent / "scored", results, scores={"e": {"f1": [0.5] * BEFORE}})
    run.write_scores("e", other.scores("e"), other.metrics("e"))
    wait_for_text(page, "h1", "f1 0.500")


def test_a_run_that_is_started_over_is_followed_again(
    chromium: Any, serve: Callable[..., Served], run: RunFolder
) -> None:
    page = serve("run").open(chromium)
    aside = run.path.rename(run.path.parent / "aside")
    page.wait_for_timeout(1500)  # the server looks in vain
    assert page.locator("#shown-count").inner_text() == "30 lines"
    (aside / "results.jsonl").write_text(result(0).model_dump_json() + "\n", encoding="utf-8")
    aside.rename(run.path)
    wait_for_text(page, "#shown-count", "1 line")


def test_an_interrupt_ends_it_with_130_and_leaves_nothing(
    chromium: Any, serve: Callable[..., Served], run: RunFolder
) -> None:
    before = sorted(path.relative_to(run.path) for path in run.path.rglob("*"))
    served = serve("run")
    page = served.open(chromium)
    assert served.interrupt() == 130
    assert served.process.stdout is not None
    assert served.process.stdout.read() == ""
    assert sorted(path.relative_to(run.path) for path in run.path.rglob("*")) == before
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(served.url, timeout=5)
    wait_for_text(page, "#live", "ended")
    assert page.locator("#shown-count").inner_text() == "30 lines"
    served.complaints.clear()


def test_only_the_served_page_may_ask_its_own_server(serve: Callable[..., Served], run: RunFolder) -> None:
    served = serve("run")
    with urllib.request.urlopen(served.url, timeout=30) as answer:
        html = answer.read().decode()
        assert answer.headers["Cache-Control"] == "no-store"
    assert "connect-src &#39;self&#39;;" in html
    assert served.url.startswith("http://127.0.0.1:")
    saved = [sys.executable, "-m", "phi3flow.cli.main", "report", "run", "--runs-dir", str(run.path.parent)]
    subprocess.run(saved, check=True, capture_output=True)
    assert "connect-src" not in (run.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "169.254.169.254"])
def test_a_foreign_name_for_this_machine_is_refused(serve: Callable[..., Served], run: RunFolder, host: str) -> None:
    request = urllib.request.Request(serve("run").url, headers={"Host": host})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 403


def _line_with(stream: Any, word: str) -> str:
    for text in stream:
        if word in text:
            return str(text)
    return ""


def test_open_opens_the_browser_that_the_environment_names(tmp_path: Path, run: RunFolder) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > "$(dirname "$0")/opened"\n', encoding="utf-8")
    browser.chmod(0o755)
    command = [sys.executable, "-m", "phi3flow.cli.main", "report", "run", "--open", "--runs-dir", str(run.path.parent)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "BROWSER": str(browser)})
    assert (tmp_path / "opened").read_text(encoding="utf-8").strip() == (run.path / "report.html").as_uri()
