"""deploy --backend azureml: a new version beside the old one, tried before it has traffic, taken back if it fails."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.azure.workspace.endpoints import shift_traffic
from phi3flow.backends.azureml.deployments import deployment_name
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.journey import STEPS, make_project, take_all
from tests.azure.snapshots import resource
from tests.support.command_line import Done, phi3flow
from tests.support.folders.pf_workspace import FLOW, PF

ML = "Microsoft.MachineLearningServices/workspaces"
FIRST, SECOND = "phi-4-mini-instruct-tuned-1", "phi-4-mini-instruct-tuned-2"


@pytest.fixture(scope="module")
def two_versions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[AzureEmulator, Path]]:
    """Give a subscription in which two versions of a model are registered."""
    with AzureEmulator(tmp_path_factory.mktemp("azure")) as azure, pytest.MonkeyPatch.context() as patch:
        for name, value in azure.environment.items():
            patch.setenv(name, value)
        project = tmp_path_factory.mktemp("project")
        make_project(project)
        take_all(azure, project, ["azure up", "prepare-data", "fine-tune", "register"])
        assert phi3flow(*STEPS["fine-tune"], "--seed", "1", cwd=project).returncode == 0
        take_all(azure, project, ["register"])
        yield azure, project


@pytest.fixture
def azure(two_versions: tuple[AzureEmulator, Path]) -> Iterator[AzureEmulator]:
    """The subscription with no endpoint before and after."""
    azure, project = two_versions
    yield azure
    azure.fault = lambda _: None
    phi3flow(*STEPS["undeploy"], cwd=project)


@pytest.fixture
def project(two_versions: tuple[AzureEmulator, Path]) -> Path:
    return two_versions[1]


def deploy(project: Path, *arguments: str) -> Done:
    return phi3flow("deploy", "--backend", "azureml", *arguments, "--yes", "--json", cwd=project)


def status(project: Path) -> list[dict[str, Any]]:
    done = phi3flow("status", "--backend", "azureml", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    shown: list[dict[str, Any]] = json.loads(done.stdout)
    return shown


def traffic(azure: AzureEmulator) -> dict[str, int]:
    shares = resource(azure, f"{ML}/onlineEndpoints")["properties"].get("traffic") or {}
    return {name: share for name, share in shares.items() if share}


def deployments(azure: AzureEmulator) -> set[str]:
    return {each["name"] for each in azure.resources if each["type"] == f"{ML}/onlineEndpoints/deployments"}


def broken(request: Request) -> Reply | None:
    """Have the second version's model fail."""
    if request.headers.get("azureml-model-deployment") != SECOND:
        return None
    headers = {"ms-azureml-model-error-statuscode": "400", "ms-azureml-model-error-reason": "bad"}
    return Reply(400, {"error": {"message": "the model is broken"}}, headers)


def test_a_canary_gets_its_share_and_then_everything(azure: AzureEmulator, project: Path) -> None:
    name = "Phi-4-mini-instruct-tuned"
    first = deploy(project, f"{name}:1")
    assert first.returncode == 0, first.stderr
    assert traffic(azure) == {FIRST: 100}
    shown = json.loads(deploy(project, f"{name}:2", "--traffic", "10").stdout)
    assert (shown["deployment"], shown["traffic"]) == (SECOND, 10)
    assert traffic(azure) == {FIRST: 90, SECOND: 10}
    assert {each["deployment"]: each["traffic"] for each in status(project) if "deployment" in each} == {
        FIRST: 90,
        SECOND: 10,
    }
    assert deploy(project, name).returncode == 0
    assert traffic(azure) == {SECOND: 100}
    old = ("undeploy", "--backend", "azureml", "--deployment", FIRST, "--yes")
    assert phi3flow(*old, cwd=project).returncode == 0
    assert deployments(azure) == {SECOND}
    writes = len(azure.writes)
    assert deploy(project, name).returncode == 0
    assert len(azure.writes) == writes


def test_a_version_that_does_not_answer_is_taken_back(azure: AzureEmulator, project: Path) -> None:
    name = "Phi-4-mini-instruct-tuned"
    assert deploy(project, f"{name}:1").returncode == 0
    azure.fault = broken
    failed = deploy(project, f"{name}:2")
    assert failed.returncode == 3
    assert "it does not answer: HTTP 400: " in failed.stderr
    assert "It was deleted again; the traffic is as it was." in failed.stderr
    assert traffic(azure) == {FIRST: 100}
    assert deployments(azure) == {FIRST}


def test_a_version_without_traffic_is_warned_about(azure: AzureEmulator, project: Path) -> None:
    name = "Phi-4-mini-instruct-tuned"
    assert deploy(project, f"{name}:1").returncode == 0
    done = deploy(project, f"{name}:2", "--traffic", "0")
    assert f"deployment {SECOND} has 0 % of the traffic: it costs, and serves nobody" in done.stderr
    assert traffic(azure) == {FIRST: 100}
    details = {each.get("detail") for each in status(project)}
    assert "it has 0 % of the traffic: it costs, and nobody is served" in details


@pytest.mark.slow
def test_the_key_goes_into_a_file_only_where_that_is_asked_for(azure: AzureEmulator, project: Path) -> None:
    assert deploy(project).returncode == 0
    plain = phi3flow("connect", "phi3_file", "--from-deployment", cwd=project)
    assert plain.returncode == 0, plain.stderr
    assert not (project / ".env").exists()
    saved = phi3flow("connect", "phi3_file", "--from-deployment", "--save-key", cwd=project)
    assert saved.returncode == 0, saved.stderr
    file = project / ".env"
    assert file.stat().st_mode & 0o777 == 0o600
    chat = [sys.executable, "-m", "phi3flow.cli.main", "chat", "--connection", "phi3_file"]
    answered = subprocess.run(chat, cwd=project, input="Hello?\n", capture_output=True, text=True)
    file.unlink()
    assert answered.stdout == "You said: Hello?\n", answered.stderr


def test_another_folder_sees_what_was_deployed_and_ends_its_cost(
    azure: AzureEmulator, project: Path, tmp_path: Path
) -> None:
    assert deploy(project).returncode == 0
    (noted,) = (each for each in status(project) if "deployment" in each)
    (found,) = status(tmp_path)
    assert {**found, "created_at": None} == {**noted, "created_at": None}
    assert phi3flow(*STEPS["undeploy"], cwd=tmp_path).stdout == f"deleted the endpoint {noted['endpoint']}\n"
    assert deployments(azure) == set()
    assert phi3flow(*STEPS["undeploy"], cwd=tmp_path).stdout == "there is no endpoint\n"


@pytest.mark.slow
def test_a_flow_under_pf_answers_from_the_deployment_that_its_store_knows(azure: AzureEmulator, project: Path) -> None:
    assert deploy(project).returncode == 0
    connect = ["connect", "phi3_endpoint", "--from-deployment", "--to", "pf"]
    command = [sys.executable, "-m", "phi3flow.cli.main", *connect]  # a process keeps the first store that it opened
    stored = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert stored.returncode == 0, stored.stderr
    asked = ["--flow", str(FLOW), "--inputs", "question=Where is Paris?"]
    done = subprocess.run([PF, "flow", "test", *asked], cwd=project, capture_output=True, text=True)
    assert "You said: Where is Paris?" in done.stdout, done.stdout + done.stderr
    assert not (project / "connections" / "phi3_endpoint.yml").exists()


@given(
    shares=st.lists(st.integers(1, 1000), min_size=1, max_size=6),
    share=st.integers(0, 100),
)
def test_shifted_traffic_sums_to_a_hundred(shares: list[int], share: int) -> None:
    total = sum(shares)
    before = {f"d{number}": int(each * 100 / total) for number, each in enumerate(shares)}
    before["d0"] += 100 - sum(before.values())
    after = shift_traffic(before, "new", share)
    assert sum(after.values()) == 100
    assert after["new"] == share
    assert all(abs(after[name] - before[name] * (100 - share) / 100) < 1 for name in before if before[name])


def test_the_first_deployment_gets_everything_or_nothing() -> None:
    assert shift_traffic({}, "new", 10) == {"new": 100}
    assert shift_traffic({}, "new", 0) == {}
    assert shift_traffic({"new": 10}, "new", 40) == {"new": 100}


@given(model=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}", fullmatch=True), version=st.integers(1, 99999))
def test_any_model_gives_a_deployments_name(model: str, version: int) -> None:
    name = deployment_name(model, str(version))
    assert re.fullmatch(r"[a-z][a-z0-9-]{2,31}", name)
    assert name.endswith(f"-{version}")
