"""From an empty subscription to a scored run and back: what each verb leaves, and that none does anything twice."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SUBSCRIPTION
from tests.azure.journey import (
    BASE,
    CONNECTION,
    STEPS,
    TUNED,
    Step,
    answer_rightly,
    make_project,
    take_step,
    tutorial_world,
)
from tests.azure.snapshots import resource, snapshot
from tests.support.command_line import phi3flow

ML = "Microsoft.MachineLearningServices/workspaces"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"
ENDING = ("undeploy", "azure down")


@pytest.fixture(scope="module")
def travelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AzureEmulator, Path, dict[str, list[Step]]]]:
    """Take every verb up to the score twice in a row, and keep what both did."""
    with (
        AzureEmulator(tmp_path_factory.mktemp("azure"), tutorial_world()) as azure,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        azure.answer_chat = answer_rightly
        project = tmp_path_factory.mktemp("project")
        make_project(project)
        verbs = [verb for verb in STEPS if verb not in ENDING]
        yield azure, project, {verb: [take_step(azure, project, verb) for _ in range(2)] for verb in verbs}


@pytest.fixture
def azure(travelled: tuple[AzureEmulator, Path, dict[str, list[Step]]]) -> AzureEmulator:
    return travelled[0]


@pytest.fixture
def project(travelled: tuple[AzureEmulator, Path, dict[str, list[Step]]]) -> Path:
    return travelled[1]


@pytest.fixture
def steps(travelled: tuple[AzureEmulator, Path, dict[str, list[Step]]]) -> dict[str, list[Step]]:
    return travelled[2]


def body_of(azure: AzureEmulator, path_end: str) -> dict[str, Any]:
    """Return the body of the only write to a path."""
    found = [each for each in azure.writes if each.path.endswith(path_end)]
    assert len(found) == 1, [str(each) for each in found]
    body: dict[str, Any] = found[0].json
    return body


def test_no_verb_writes_a_second_time(steps: dict[str, list[Step]]) -> None:
    assert {verb: again.writes for verb, (_, again) in steps.items()} == dict.fromkeys(steps, 0)
    wrote = {verb: first.writes for verb, (first, _) in steps.items() if first.writes}
    assert set(wrote) == {
        "azure up",
        "fine-tune",
        "register",
        "deploy base",
        "deploy",
        "connect",
        "connect base",
    }


def test_what_up_made_is_what_the_document_asks_for(azure: AzureEmulator) -> None:
    cluster = resource(azure, f"{ML}/computes")["properties"]["properties"]
    assert (cluster["vmSize"], cluster["vmPriority"]) == ("STANDARD_NC24ADS_A100_V4", "Dedicated")
    scale = {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT2M"}
    assert cluster["scaleSettings"] == scale
    assert body_of(azure, "/computes/gpu-cluster")["properties"]["properties"]["scaleSettings"] == {
        **scale,
        "nodeIdleTimeBeforeScaleDown": "PT120S",
    }
    identity = resource(azure, "Microsoft.ManagedIdentity/userAssignedIdentities")
    assert azure.roles.of(identity["properties"]["principalId"]) == {
        ("Contributor", GROUP),
        ("Storage Blob Data Reader", resource(azure, "Microsoft.Storage/storageAccounts")["id"]),
        ("AcrPull", resource(azure, "Microsoft.ContainerRegistry/registries")["id"]),
    }


def test_the_job_fine_tunes_the_catalogs_phi3_on_both_files(azure: AzureEmulator) -> None:
    (job,) = azure.jobs.all
    assert (job.status, job.properties["jobType"]) == ("Completed", "Pipeline")
    (node,) = job.properties["jobs"].values()
    assert node["componentId"] == "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    inputs = {**node["inputs"]}
    model = inputs.pop("mlflow_model_path")
    assert model["uri"] == "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"
    values = {name: each["value"] for name, each in inputs.items() if "value" in each}
    assert (float(values["learning_rate"]), values["num_train_epochs"]) == (2e-5, "2")
    assert {values[name] for name in values if name.startswith("compute_")} == {"gpu-cluster"}
    assert values["apply_lora"] == "true"
    data = {name: each["uri"] for name, each in inputs.items() if "uri" in each}
    assert set(data) == {"train_file_path", "validation_file_path"}
    assert all("/data/phi3flow-" in uri for uri in data.values())


def test_the_model_is_the_jobs_and_says_where_it_comes_from(azure: AzureEmulator, project: Path) -> None:
    made = resource(azure, f"{ML}/models/versions")
    (job,) = azure.jobs.all
    tags = made["properties"]["tags"]
    assert made["properties"]["modelType"] == "mlflow_model"
    assert tags["phi3flow.job"] == job.name
    assert tags["base_model"] == "Phi-4-mini-instruct:1"
    assert len(tags["train_sha256"]) == len(tags["validation_sha256"]) == 64
    assert tags["flow_version"].startswith("chat_phi3-1.0.0-")


def test_the_endpoint_has_both_models_and_the_tuned_one_all_the_traffic(azure: AzureEmulator) -> None:
    endpoint = resource(azure, f"{ML}/onlineEndpoints")
    deployment = resource(azure, f"{ML}/onlineEndpoints/deployments", TUNED)
    base = resource(azure, f"{ML}/onlineEndpoints/deployments", BASE)
    assert endpoint["properties"]["traffic"] == {TUNED: 100}
    assert base["properties"]["model"] == "azureml://registries/azureml/models/Phi-4-mini-instruct/versions/1"
    assert base["properties"]["codeConfiguration"] == deployment["properties"]["codeConfiguration"]
    identity = resource(azure, "Microsoft.ManagedIdentity/userAssignedIdentities")["id"]
    assert [each.lower() for each in endpoint["identity"]["userAssignedIdentities"]] == [identity.lower()]
    properties = deployment["properties"]
    assert properties["instanceType"] == "Standard_NC24ads_A100_v4"
    assert deployment["sku"]["capacity"] == 1
    assert properties["codeConfiguration"]["scoringScript"] == "score.py"
    assert properties["requestSettings"]["requestTimeout"] == "PT1M30S"
    assert properties["livenessProbe"]["initialDelay"] == "PT10M"
    assert properties["readinessProbe"]["initialDelay"] == "PT10S"


def test_the_connections_key_is_a_secret_of_the_project(azure: AzureEmulator) -> None:
    made = resource(azure, f"{ML}/connections", CONNECTION)
    assert "/workspaces/phi3flow-project/" in made["id"]
    endpoint = resource(azure, f"{ML}/onlineEndpoints")["properties"]["scoringUri"]
    assert made["properties"]["metadata"]["endpoint"] == endpoint
    keys = azure.resources.hidden[made["id"].lower()]["credentials"]["keys"]
    assert list(keys) == ["key"]


def test_the_deployed_model_answers_every_line_and_is_scored(project: Path, steps: dict[str, list[Step]]) -> None:
    run = project / ".runs" / "tuned"
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["counts"]["failed"] == 0
    assert manifest["counts"]["completed"] == manifest["counts"]["total"] > 0
    metrics = json.loads((run / "scores" / "answer_match" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["metrics"]["exact_match"]["mean"] == 1.0


def test_status_names_endpoint_job_and_model(project: Path) -> None:
    shown = json.loads(phi3flow("status", "--json", cwd=project).stdout)
    base, endpoint, job, model = shown
    assert (endpoint["state"], endpoint["traffic"], endpoint["detail"]) == ("running", 100, None)
    assert (base["deployment"], base["traffic"]) == (BASE, 0)
    assert (endpoint["size"], endpoint["instances"]) == ("Standard_NC24ads_A100_v4", 1)
    assert endpoint["dollars_per_day"] == base["dollars_per_day"] == round(3.673 * 24, 2)
    told = phi3flow("status", cwd=project).stdout
    assert f"deployment {TUNED}: 1 x Standard_NC24ads_A100_v4, 88.15 dollars a day" in told
    assert "together 176.30 dollars a day" in told
    assert endpoint["url"] in told
    assert (job["state"], model["state"]) == ("Completed", "registered")


def test_base_and_tuned_are_compared(project: Path, steps: dict[str, list[Step]]) -> None:
    metrics = json.loads((project / ".runs/base/scores/answer_match/metrics.json").read_text(encoding="utf-8"))
    assert metrics["metrics"]["exact_match"]["mean"] == 0.0
    assert "exact_match" in steps["compare"][0].done.stdout


def test_the_deployment_waits_for_the_node_of_the_fine_tune(steps: dict[str, list[Step]]) -> None:
    assert "waiting for an idle node of the cluster to go" in steps["deploy"][0].done.stderr


def test_no_secret_is_in_a_file_or_in_what_was_said(
    azure: AzureEmulator, project: Path, steps: dict[str, list[Step]]
) -> None:
    connection = resource(azure, f"{ML}/connections", CONNECTION)
    key = azure.resources.hidden[connection["id"].lower()]["credentials"]["keys"]["key"]
    secrets = [key, azure.environment["AZURE_CLIENT_SECRET"], "eyJ", "sig=", "AccountKey="]
    assert any(key in each.headers.get("authorization", "") for each in azure.requests)
    said = "".join(step.done.stdout + step.done.stderr for both in steps.values() for step in both)
    written = {path: path.read_bytes() for path in project.rglob("*") if path.is_file()}
    assert written
    for secret in secrets:
        assert secret not in said
        assert not [path for path, content in written.items() if secret.encode() in content], secret


def test_chat_talks_to_the_deployed_model(project: Path) -> None:
    """In a process of its own: aiohttp reads once which authorities it trusts."""
    command = [sys.executable, "-m", "phi3flow.cli.main", "chat", "--connection", CONNECTION]
    question = "Who founded company number 7?\n"
    done = subprocess.run(command, cwd=project, input=question, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Company number 7 was founded by person 7.\n"


def test_undeploy_and_down_leave_the_group_alone(azure: AzureEmulator, project: Path) -> None:
    """Last in this file, since it ends what the others look at."""
    assert take_step(azure, project, "undeploy").writes == 1
    assert not [each for each in azure.resources if "onlineEndpoints" in each["type"]]
    take_step(azure, project, "azure down")
    assert [each["id"] for each in azure.resources] == [GROUP]
    before, writes = snapshot(azure), len(azure.writes)
    assert phi3flow(*STEPS["azure down"], cwd=project).returncode == 0
    assert phi3flow(*STEPS["undeploy"], cwd=project).returncode == 0
    assert snapshot(azure) == before
    assert len(azure.writes) == writes
