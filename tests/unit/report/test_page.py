"""The page as a file: what it refers to, its size, its colours, and how it is replaced."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.errors import ConfigError
from phi3flow.records.scores import Estimate, RunMetrics
from phi3flow.report import write_report
from tests.support.folders.run_folders import line, scored_run, write_run
from tests.support.folders.training_records import training_record


def test_the_page_names_its_script_and_style_and_nothing_outside(tmp_path: Path) -> None:
    runs = [scored_run(tmp_path / name, [0.1, 0.9]) for name in ("a", "b")]
    path = write_report(runs, comparison=compare_runs(*runs), training=[training_record()], output=tmp_path / "r.html")
    page = _Page(path.read_text(encoding="utf-8"))
    assert page.hashes["script"] in page.policy
    assert page.hashes["style"] in page.policy
    assert "default-src 'none'" in page.policy
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert page.inline_handlers == []


class _Page(HTMLParser):
    """What an HTML file refers to and carries."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: set[str] = set()
        self.inline_handlers: list[str] = []
        self.hashes: dict[str, str] = {}
        self.policy = ""
        self._inside: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses |= {str(values[name]) for name in ("src", "href", "action") if name in values}
        self.inline_handlers += [name for name in values if name.startswith("on") or name == "style"]
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(values["content"])
        self._inside = tag if tag in ("script", "style") and "type" not in values else None

    def handle_data(self, data: str) -> None:
        if self._inside:
            digest = base64.b64encode(hashlib.sha256(data.encode()).digest()).decode()
            self.hashes[self._inside] = f"'sha256-{digest}'"
            self._inside = None


def test_a_report_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    run = scored_run(tmp_path / "run", [1.0])
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ConfigError, match="--output"):
        write_report([run], output=tmp_path / "file" / "report.html")
    output = tmp_path / "report.html"
    write_report([run], output=output)
    before = output.stat().st_ino
    write_report([run], output=output)
    assert output.stat().st_ino != before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_five_thousand_lines_stay_below_five_megabytes(tmp_path: Path) -> None:
    metrics = {f"metric_{n}": [((number * 7919 + n) % 1000) / 997 for number in range(5000)] for n in range(12)}
    runs = []
    for name in ("base", "tuned"):
        results = [line(number, f"{name} {number} " * 60, question=f"What is {number}? " * 8) for number in range(5000)]
        rows = [
            {"ground_truth": f"truth {number} " * 20, "values": [str(number)], "kind": f"kind {number % 100}"}
            for number in range(5000)
        ]
        runs.append(write_run(tmp_path / name, results, rows=rows, scores={"answer_match": metrics}))
    comparison = compare_runs(*runs, by=["kind"])
    assert write_report(runs, comparison=comparison, output=tmp_path / "report.html").stat().st_size < 5_000_000


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "raised"])
@pytest.mark.parametrize("ink", ["ink", "muted", "baseline", "candidate", "win", "loss"])
def test_text_has_the_contrast_that_wcag_asks_for(ink: str, ground: str, theme: int) -> None:
    style = (resources.files("phi3flow.report") / "assets" / "report.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--([\w-]+): light-dark\((.+?)\)", style))
    text, paper = (_luminance(colours[name].split(", ")[theme]) for name in (ink, ground))
    assert (max(text, paper) + 0.05) / (min(text, paper) + 0.05) >= 4.5


def _luminance(colour: str) -> float:
    """Return the relative luminance of #rrggbb (WCAG 2.2)."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_what_an_aggregation_logged_as_text_is_shown_as_text(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [line(0, "a")])
    run.write_scores("eval", [], RunMetrics(metrics={}, texts={"label": "<i>excellent</i>"}))
    html = write_report([run], output=tmp_path / "report.html").read_text(encoding="utf-8")
    assert "&lt;i&gt;excellent&lt;/i&gt;" in html
    assert "run is scored, but has no figure" in html
    assert ">Metric</th>" in html


def test_runs_with_aggregated_metrics_only_are_compared_with_that_said(tmp_path: Path) -> None:
    runs = []
    for name, mean in (("base", 0.6), ("tuned", 0.7)):
        runs.append(write_run(tmp_path / name, [line(0, "a"), line(1, "b")], scores={"eval": {}}))
        estimate = Estimate(mean=mean, n=2, method="aggregation")
        metrics = runs[-1].metrics("eval").model_copy(update={"metrics": {"kappa": estimate}})
        runs[-1].write_scores("eval", runs[-1].scores("eval"), metrics)
    html = write_report(runs, comparison=compare_runs(*runs), output=tmp_path / "report.html").read_text("utf-8")
    assert "only the whole run has it, not its lines" in html
    assert "+0.100" in html
    assert "whole run</small>" in html


def test_a_metric_of_one_run_is_said_to_be_its_own(tmp_path: Path) -> None:
    base = scored_run(tmp_path / "base", [0.5, 0.6])
    results = [line(0, "a"), line(1, "b")]
    tuned = write_run(tmp_path / "tuned", results, scores={"answer_match": {"f1": [0.5, 0.6], "chrf": [40.0, 50.0]}})
    path = write_report([base, tuned], comparison=compare_runs(base, tuned), output=tmp_path / "r.html")
    assert "not compared: base has none, this is tuned's own" in path.read_text(encoding="utf-8")
