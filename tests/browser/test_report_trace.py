"""What the nodes of a traced line did, in the open line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phi3flow.records.traces import TRACES_FILE, LineTrace, ModelCall, NodeTrace
from phi3flow.runs.folder import RunFolder
from tests.browser.conftest import OpenedReport
from tests.browser.hostile_texts import PAYLOADS
from tests.support.folders.run_folders import line, write_run

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]


def _traced(folder: Path, texts: list[str]) -> RunFolder:
    """Return a run of two lines, of which the second is traced: ``texts`` are what its first node was sent."""
    run = write_run(folder, [line(0, "answer 0", question="q0"), line(1, None, question="q1")])
    messages = [{"role": "user", "content": text} for text in texts]
    calls = [ModelCall(request={"model": "phi", "messages": messages}, answer="<b>42</b>")]
    nodes = [
        NodeTrace(node="ask", inputs={"question": "q1"}, output={"found": 42}, duration_ms=12.5, calls=calls),
        NodeTrace(node="check", inputs={"found": 42}, error="ValueError: not <i>odd</i>", duration_ms=0.1),
    ]
    trace = LineTrace(line_number=1, attempts=1, nodes=nodes)
    (run.path / TRACES_FILE).write_text(trace.model_dump_json() + "\n", encoding="utf-8")
    return run


def test_an_open_line_shows_what_its_nodes_did(open_report: Open, tmp_path: Path) -> None:
    report = open_report(_traced(tmp_path / "run", ["What is six times seven?"]))
    assert report.texts(".line-number") == ["0", "1"]  # as on the console and in results.jsonl
    report.page.get_by_role("button", name="q0").click()
    assert report.texts(".open .trace") == []
    report.page.get_by_role("button", name="q1").click()
    report.page.get_by_text("Trace of run: ask → check").click()
    first, second = report.texts(".open .step")
    assert first.startswith('ask 13 ms Given { "question": "q1" } Sent to the model { "model": "phi"')
    assert '"content": "What is six times seven?"' in first
    assert "The model's answer <b>42</b>" in first
    assert first.endswith('Gave { "found": 42 }')
    assert second == 'check 0.10 ms Given { "found": 42 } ✕ ValueError: not <i>odd</i>'


def test_texts_of_a_trace_are_only_shown(open_report: Open, tmp_path: Path) -> None:
    report = open_report(_traced(tmp_path / "run", list(PAYLOADS)))
    report.page.get_by_role("button", name="q1").click()
    report.page.get_by_text("Trace of run: ask → check").click()
    for summary in report.page.locator(".open .step summary").all():
        summary.click()
    assert report.page.locator(".open .step img, .open .step script, .open .step b").count() == 0


def test_traces_that_are_too_many_are_those_of_failed_lines(open_report: Open, tmp_path: Path) -> None:
    results = [line(number, None if number == 7 else "a") for number in range(400)]
    run = write_run(tmp_path / "run", results)
    with (run.path / TRACES_FILE).open("w", encoding="utf-8") as file:
        for number in range(400):
            nodes = [NodeTrace(node=f"node {k}", inputs="x" * 300, duration_ms=1.0) for k in range(100)]
            file.write(LineTrace(line_number=number, attempts=1, nodes=nodes).model_dump_json() + "\n")
    report = open_report(run)
    assert "The traces of 399 lines are too many for this file" in report.page.locator("#lines").inner_text()
    report.choose("Failed")
    report.page.locator(".line button").first.click()
    assert report.page.locator(".open .trace").count() == 1
