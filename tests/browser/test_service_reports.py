"""What comes of a fine-tune by a service, in a real browser: base against fine-tuned, with the curves that it told."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.azure import openai_journey, serverless_journey
from tests.azure.emulator.azure import AzureEmulator
from tests.browser.conftest import OpenedReport

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("real_encodings")]
Open = Callable[..., OpenedReport]

JOURNEYS = {"serverless": serverless_journey.JOURNEY, "azure-openai": openai_journey.JOURNEY}


def travel(backend: str, project: Path) -> None:
    """Take a journey up to its report."""
    journey = JOURNEYS[backend]
    journey.lay_out(project)
    with AzureEmulator(project.parent) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        azure.answer_chat = journey.answer
        verbs = list(journey.steps)
        journey.take_all(azure, project, verbs[: verbs.index("report") + 1])


@pytest.mark.parametrize("backend", JOURNEYS)
def test_base_against_fine_tuned_with_the_loss_curve(backend: str, tmp_path: Path, open_page: Open) -> None:
    project = tmp_path / "project"
    project.mkdir()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # the browser holds this process's event loop
        pool.submit(travel, backend, project).result()
    (gate,) = project.glob(".runs/tuned/gate.json")
    assert json.loads(gate.read_bytes())["passed"]
    (file,) = project.rglob("report*.html")
    page = open_page(file)
    assert any("better" in verdict for verdict in page.texts(".verdict"))
    training = open_page(file, fragment="#training")
    assert training.texts("#training .lead")[0].startswith(f"{backend}, from ")
    curves = training.page.evaluate(
        """() => [...document.querySelectorAll("#training polyline")].map((line) => line.points.length)"""
    )
    assert len(curves) >= 2
    assert max(curves) > 5
