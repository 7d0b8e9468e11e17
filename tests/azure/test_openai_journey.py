"""Azure OpenAI from an empty subscription to a gated run and back: no verb does anything twice, and no key is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SUBSCRIPTION
from tests.azure.journey import Step
from tests.azure.openai_journey import (
    ACCOUNT,
    BASE,
    LIVING,
    MODEL,
    STEPS,
    TUNED,
    answer_rightly,
    lay_out,
    left_in,
    take_step,
)
from tests.azure.snapshots import resource, snapshot
from tests.support.command_line import phi3flow

pytestmark = pytest.mark.slow

DEPLOYMENTS = "Microsoft.CognitiveServices/accounts/deployments"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"
ENDING = ("undeploy base", "undeploy", "azure down")


@dataclass
class Journey:
    """A subscription and a project's folder, and what each verb before the ending did the first and second time."""

    azure: AzureEmulator
    project: Path
    steps: dict[str, tuple[Step, Step]]
    left: dict[str, tuple[list[str], list[str]]]
    """What there was after each."""

    @property
    def account_id(self) -> str:
        """The id of the Azure OpenAI resource."""
        return f"{GROUP}/providers/Microsoft.CognitiveServices/accounts/{ACCOUNT}"

    @property
    def keys(self) -> list[str]:
        """The keys of the resource."""
        return list(self.azure.openai.accounts.keys(self.account_id).values())


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory, encodings: Path) -> Iterator[Journey]:
    """Take every verb before the ending twice in a row."""
    with AzureEmulator(tmp_path_factory.mktemp("azure")) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in {**azure.environment, "TIKTOKEN_CACHE_DIR": str(encodings)}.items():
            patch.setenv(name, value)
        azure.answer_chat = answer_rightly
        journey = Journey(azure, tmp_path_factory.mktemp("project"), {}, {})
        lay_out(journey.project)
        for verb in STEPS:
            if verb not in ENDING:
                first, after_first = take_step(azure, journey.project, verb), left_in(azure)
                again, after_again = take_step(azure, journey.project, verb), left_in(azure)
                journey.steps[verb], journey.left[verb] = (first, again), (after_first, after_again)
        yield journey


def test_no_verb_writes_a_second_time(journey: Journey) -> None:
    assert {verb: again.writes for verb, (_, again) in journey.steps.items()} == dict.fromkeys(journey.steps, 0)
    assert all(first == again for first, again in journey.left.values())


def test_what_each_verb_writes_is_counted(journey: Journey) -> None:
    """The table of `python -m tests.azure.openai_journey`."""
    wrote = {verb: first.writes for verb, (first, _) in journey.steps.items() if first.writes}
    up = wrote.pop("azure up")
    assert up > 27
    assert wrote == {"fine-tune": 3, "deploy base": 1, "deploy": 1, "connect base": 1, "connect": 1}


def test_the_job_learns_both_files_of_the_split(journey: Journey) -> None:
    (job,) = journey.azure.openai.jobs.of(journey.account_id)
    settings = job.settings
    assert (settings.model, settings.method, settings.suffix, settings.seed) == (MODEL, "supervised", "support", 0)
    assert settings.training_type == "globalStandard"
    assert settings.hyperparameters == {"n_epochs": 2, "batch_size": -1, "learning_rate_multiplier": -1}
    validation = settings.validation_file
    assert validation
    assert [file.content.count(b"\n") for file in (settings.training_file, validation)] == [36, 12]


def test_the_tuned_model_is_deployed_for_a_day_and_the_living_base_by_the_token(journey: Journey) -> None:
    base, tuned = (resource(journey.azure, DEPLOYMENTS, name) for name in (BASE, TUNED))
    assert base["properties"]["model"] == {"format": "OpenAI-OSS", "name": LIVING, "version": "1"}
    assert base["sku"] == {"name": "GlobalStandard", "capacity": 50}
    assert tuned["properties"]["model"]["name"].startswith(f"{MODEL}.ft-")
    assert tuned["sku"] == {"name": "DeveloperTier", "capacity": 50}
    assert [row["tags"]["created-by"] for row in (base, tuned)] == ["phi3flow", "phi3flow"]


def test_the_tokens_are_told_before_anything_is_uploaded(journey: Journey) -> None:
    said = journey.steps["fine-tune"][0].done.stderr
    assert "train: 36 examples\n  tokens an example: min 29, max 29, mean 29.0, median 29.0, p5 29.0, p95 29.0" in said
    assert "validation: 12 examples" in said
    assert said.index("tokens an answer") < said.index("submitted ftjob-")


def test_the_tuned_model_beats_the_base_model_and_the_gate_lets_it_pass(journey: Journey) -> None:
    for run, mean in ((BASE, 0.0), (TUNED, 1.0)):
        folder = journey.project / ".runs" / run
        counts = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["counts"]
        assert counts["completed"] == counts["total"] > 0
        metrics = json.loads((folder / "scores" / "answer_match" / "metrics.json").read_text(encoding="utf-8"))
        assert metrics["metrics"]["exact_match"]["mean"] == mean
    assert "tuned is better than base" in journey.steps["compare"][0].done.stdout
    assert "passed" in journey.steps["gate"][0].done.stdout


def test_the_report_draws_the_jobs_curves(journey: Journey) -> None:
    (job,) = journey.azure.openai.jobs.of(journey.account_id)
    training = json.loads((journey.project / ".phi3flow/fine-tunes" / job.id / "training.json").read_text())
    assert (training["backend"], len(training["steps"])) == ("azure-openai", 72)
    assert MODEL in (journey.project / ".runs/tuned/report.html").read_text(encoding="utf-8")


def test_status_says_what_is_hosted_and_when_azure_ends_it(journey: Journey) -> None:
    said = journey.steps["status"][0].done.stdout
    assert f"{BASE}: hosted for 0.0 h, billed by the token" in said
    assert f"{TUNED}: hosted for 0.0 h at no hourly fee; Azure removes it at " in said
    assert "24 hours after it was made" in said


def test_no_key_is_in_a_file_in_what_was_said_or_in_an_address(journey: Journey) -> None:
    azure = journey.azure
    used = [key for key in journey.keys if any(key in each.headers.get("authorization", "") for each in azure.requests)]
    assert len(used) == 1
    secrets = [*journey.keys, azure.environment["AZURE_CLIENT_SECRET"], "eyJ"]
    said = "".join(step.done.stdout + step.done.stderr for both in journey.steps.values() for step in both)
    written = {path: path.read_bytes() for path in journey.project.rglob("*") if path.is_file()}
    urls = "".join(f"{each.host}{each.path}{each.query}" for each in azure.requests)
    assert written
    for secret in secrets:
        assert secret not in said
        assert secret not in urls
        assert not [path for path, content in written.items() if secret.encode() in content], secret


def test_undeploy_and_down_leave_the_group_alone_and_a_second_up_recovers_the_resource(journey: Journey) -> None:
    """Last in this file, since it ends what the others look at."""
    azure, project = journey.azure, journey.project
    assert take_step(azure, project, "undeploy base").writes == 1
    assert resource(azure, DEPLOYMENTS)["name"] == TUNED
    assert take_step(azure, project, "undeploy").writes == 6
    assert left_in(azure) == snapshot(azure)
    take_step(azure, project, "azure down")
    assert [each["id"] for each in azure.resources] == [GROUP]
    assert journey.account_id.lower() in azure.world.soft_deleted
    before, writes = snapshot(azure), len(azure.writes)
    for verb in ("azure down", "status"):
        take_step(azure, project, verb)
    assert snapshot(azure) == before
    assert len(azure.writes) == writes
    assert phi3flow("status", cwd=project).returncode == 0
    take_step(azure, project, "azure up")
    assert journey.account_id.lower() not in azure.world.soft_deleted
    kinds = Counter(json.loads(text)["type"] for text in journey.left["azure up"][0])
    assert Counter(row["type"] for row in azure.resources) == kinds
