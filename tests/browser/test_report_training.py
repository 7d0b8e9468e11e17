"""The curves of a fine-tune in a real browser: of one that a service ran, and of one that ran here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder
from tests.browser.conftest import OpenedReport
from tests.support.command_line import phi3flow
from tests.support.folders.run_folders import line, write_run
from tests.support.folders.training_records import service_training_record, training_record

pytestmark = pytest.mark.browser

Open = Callable[..., OpenedReport]

POINTS = """() => {
    const figure = document.querySelector("#training .curve");
    const box = figure.getBoundingClientRect();
    return [...figure.querySelectorAll("polyline")].map((curve) => [
        curve.getAttribute("class"),
        [...curve.points].map((point) => point.matrixTransform(curve.getScreenCTM()))
            .map((point) => [(point.x - box.x) / box.width, 1 - (point.y - box.y) / box.height]),
    ]);
}"""
"""The curves as they are drawn: each by its name, with its points as shares of the figure's width and height."""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return write_run(tmp_path / "run", [line(0, "Bill Gates")])


def test_a_services_curves_are_drawn_where_their_losses_are(open_report: Open, run: RunFolder) -> None:
    report = open_report(run, training=[service_training_record()], fragment="#training")
    curves = dict(report.page.evaluate(POINTS))
    drawn = {
        "train": [(1, 2.0), (2, 1.5), (3, 1.0), (4, 0.8), (5, 0.6), (6, 0.5)],
        "validation_batch": [(1, 2.2), (3, 1.4), (5, 1.1)],
        "validation": [(4, 1.2), (6, 0.9)],
    }
    assert curves.keys() == drawn.keys()
    for name, points in drawn.items():
        expected = [coordinate for step, loss in points for coordinate in (step / 6, loss / 3)]
        assert [coordinate for point in curves[name] for coordinate in point] == pytest.approx(expected, abs=0.003)
    assert report.texts("#training figcaption .key") == ["loss", "validation loss", "validation loss of a batch"]
    assert report.page.locator("#training circle").count() == 2
    assert report.page.locator("#training .curve").count() == 1  # no learning rate is known


def test_a_services_facts_and_its_last_figures_are_said(open_report: Open, run: RunFolder) -> None:
    report = open_report(run, training=[service_training_record()], fragment="#training")
    assert report.texts("#training .lead") == [
        "azure-openai, from gpt-4.1-mini-2025-04-14: 6 steps in 35 min 0 s; 31,256 tokens billed."
    ]
    assert report.texts("#training caption") == ["At the end"]
    assert report.texts("#training tbody tr") == [
        "train loss 0.500",
        "train token accuracy 0.850",
        "validation loss 0.900",
        "validation perplexity 2.460",
        "validation token accuracy 0.710",
    ]


def test_curves_have_colours_of_their_own_in_either_scheme(open_report: Open, run: RunFolder) -> None:
    for scheme in ("light", "dark"):
        report = open_report(run, training=[service_training_record()], fragment="#training", color_scheme=scheme)
        strokes = report.page.evaluate(
            """() => ["train", "validation", "validation_batch"]
                .map((name) => getComputedStyle(document.querySelector(`#training polyline.${name}`)))
                .map((style) => [style.stroke, style.strokeWidth, style.opacity])"""
        )
        assert len({tuple(stroke) for stroke in strokes}) == 3
        assert all(stroke[0] not in ("none", "rgb(0, 0, 0)") for stroke in strokes)


def test_a_local_training_keeps_its_rate_its_best_checkpoint_and_both_columns(
    open_report: Open, run: RunFolder
) -> None:
    report = open_report(run, training=[training_record()], fragment="#training")
    assert report.texts("#training figcaption .key") == ["loss", "validation loss", "best checkpoint"]
    assert report.page.locator("#training .curve").count() == 2
    assert report.texts("#training caption") == ["Before and after"]


def test_the_verb_takes_a_services_record(open_page: Open, run: RunFolder, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "support"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(service_training_record().model_dump_json(indent=2), encoding="utf-8")
    done = phi3flow("report", run.path, "--training", folder, "--output", "report.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = open_page(tmp_path / "report.html", fragment="#training")
    assert report.page.locator("#training polyline").count() == 3


def test_a_fine_tune_without_curves_has_its_facts_only(open_report: Open, run: RunFolder) -> None:
    record = service_training_record().model_copy(update={"steps": [], "validation": [], "after": {}})
    report = open_report(run, training=[record], fragment="#training")
    assert report.page.locator("#training figure, #training table").count() == 0
    assert "31,256 tokens billed" in report.texts("#training .lead")[0]
