"""Models as a service from an empty subscription to a compared run and back: no verb does anything twice."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SUBSCRIPTION
from tests.azure.journey import Step, make_project
from tests.azure.serverless_journey import BASE, STEPS, TUNED, answer_rightly, take_step
from tests.azure.snapshots import resource, snapshot
from tests.support.command_line import phi3flow

pytestmark = pytest.mark.slow

ML = "Microsoft.MachineLearningServices/workspaces"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"
ENDING = ("undeploy base", "undeploy", "azure down")


class ProcessList(threading.Thread):
    """The command lines of what this process starts, gathered as long as it lives."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.lines: set[str] = set()
        self._is_over = threading.Event()

    def run(self) -> None:
        """Look every few milliseconds."""
        while not self._is_over.wait(0.02):
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    self.lines.add(" ".join(child.cmdline()))

    def end(self) -> None:
        """Look no more."""
        self._is_over.set()
        self.join()


@dataclass
class Journey:
    """A subscription and a project's folder, and what each verb before the ending did the first and second time."""

    azure: AzureEmulator
    project: Path
    processes: ProcessList
    steps: dict[str, tuple[Step, Step]]
    left: dict[str, tuple[list[str], list[str]]]
    """What there was after each."""


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    """Take every verb before the ending twice in a row."""
    with AzureEmulator(tmp_path_factory.mktemp("azure")) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        azure.answer_chat = answer_rightly
        journey = Journey(azure, tmp_path_factory.mktemp("project"), ProcessList(), {}, {})
        make_project(journey.project)
        journey.processes.start()
        for verb in STEPS:
            if verb not in ENDING:
                first, after_first = take_step(azure, journey.project, verb), snapshot(azure)
                again, after_again = take_step(azure, journey.project, verb), snapshot(azure)
                journey.steps[verb], journey.left[verb] = (first, again), (after_first, after_again)
        journey.processes.end()
        yield journey


def test_no_verb_writes_a_second_time(journey: Journey) -> None:
    assert {verb: again.writes for verb, (_, again) in journey.steps.items()} == dict.fromkeys(journey.steps, 0)
    assert all(first == again for first, again in journey.left.values())


def test_what_each_verb_writes_is_counted(journey: Journey) -> None:
    """The table of `python -m tests.azure.serverless_journey`."""
    wrote = {verb: (first.writes, first.resources) for verb, (first, _) in journey.steps.items() if first.writes}
    assert wrote == {
        "azure up": (27, 24),
        "fine-tune": (7, 30),
        "register": (1, 30),
        "deploy base": (1, 31),
        "deploy": (1, 32),
        "connect base": (1, 33),
        "connect": (1, 34),
    }


def test_the_endpoints_serve_the_registrys_model_and_the_one_that_was_made_of_it(journey: Journey) -> None:
    base, tuned = (resource(journey.azure, f"{ML}/serverlessEndpoints", name) for name in (BASE, TUNED))
    assert base["properties"]["modelSettings"] == {"modelId": "azureml://registries/azureml/models/Phi-4-mini-instruct"}
    (job,) = journey.azure.jobs.all
    guid = resource(journey.azure, ML, "phi3flow-project")["properties"]["workspaceId"]
    model_id = f"azureml://locations/eastus2/workspaces/{guid}/models/{job.name}/versions/1"
    assert tuned["properties"]["modelSettings"] == {"modelId": model_id}
    assert (base["tags"]["model"], tuned["tags"]["model"]) == ("Phi-4-mini-instruct", f"{job.name}:1")


def test_the_model_says_where_it_comes_from(journey: Journey) -> None:
    (job,) = journey.azure.jobs.all
    tags = resource(journey.azure, f"{ML}/models/versions", "1")["properties"]["tags"]
    assert (tags["phi3flow.job"], tags["base_model"]) == (job.name, "Phi-4-mini-instruct:1")
    assert len(tags["train_sha256"]) == len(tags["validation_sha256"]) == 64
    assert tags["flow_version"].startswith("chat_phi3-1.0.0-")


def test_the_tuned_model_beats_the_base_model_and_the_gate_lets_it_pass(journey: Journey) -> None:
    for run, mean in (("base", 0.0), ("tuned", 1.0)):
        folder = journey.project / ".runs" / run
        counts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["counts"]
        assert counts["completed"] == counts["total"] > 0
        metrics = json.loads((folder / "scores" / "answer_match" / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["metrics"]["exact_match"]["mean"] == mean
    assert "tuned is better than base" in journey.steps["compare"][0].done.stdout
    assert "passed" in journey.steps["gate"][0].done.stdout


def test_the_report_draws_the_jobs_curves(journey: Journey) -> None:
    (job,) = journey.azure.jobs.all
    training = json.loads((journey.project / ".phi3flow/fine-tunes" / job.name / "training.json").read_text())
    assert len(training["steps"]) == 20
    report = (journey.project / ".runs/tuned/report.html").read_text(encoding="utf-8")
    assert "Phi-4-mini-instruct:1" in report


def test_no_secret_is_in_a_file_in_what_was_said_or_in_a_processs_arguments(journey: Journey) -> None:
    azure = journey.azure
    endpoints = [row["id"].lower() for row in azure.resources if row["type"] == f"{ML}/serverlessEndpoints"]
    keys = [key for endpoint in endpoints for key in azure.resources.hidden[endpoint]["keys"].values()]
    assert len(keys) == 4
    used = [key for key in keys if any(key in each.headers.get("authorization", "") for each in azure.requests)]
    assert len(used) == 2
    secrets = [*keys, azure.environment["AZURE_CLIENT_SECRET"], "eyJ", "sig=", "AccountKey="]
    assert journey.processes.lines
    said = "\n".join(journey.processes.lines) + "".join(
        step.done.stdout + step.done.stderr for both in journey.steps.values() for step in both
    )
    written = {path: path.read_bytes() for path in journey.project.rglob("*") if path.is_file()}
    urls = "".join(f"{each.host}{each.path}{each.query}" for each in azure.requests if ".blob." not in each.host)
    for secret in secrets:
        assert secret not in said
        assert secret not in urls
        assert not [path for path, content in written.items() if secret.encode() in content], secret


def test_undeploy_and_down_leave_the_group_alone(journey: Journey) -> None:
    """Last in this file, since it ends what the others look at."""
    azure, project = journey.azure, journey.project
    assert take_step(azure, project, "undeploy base").writes == 1
    assert resource(azure, f"{ML}/serverlessEndpoints")["name"] == TUNED
    assert take_step(azure, project, "undeploy").writes == 2
    kinds = (f"{ML}/serverlessEndpoints", f"{ML}/models/versions")
    assert [row["id"] for row in azure.resources if row["type"] in kinds] == []
    take_step(azure, project, "azure down")
    assert [each["id"] for each in azure.resources] == [GROUP]
    before, writes = snapshot(azure), len(azure.writes)
    assert phi3flow(*STEPS["azure down"], cwd=project).returncode == 0
    assert snapshot(azure) == before
    assert len(azure.writes) == writes
