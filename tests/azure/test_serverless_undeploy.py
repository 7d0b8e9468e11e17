"""undeploy and status --backend serverless: what is told of endpoints, what is deleted in which order, what is left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.azure.disturbances import Killer
from tests.azure.foundry_project import Foundry, open_foundry, suffix_for
from tests.azure.serverless_journey import take_all
from tests.support.command_line import Done, phi3flow

BACKEND = ("--backend", "serverless")
REGISTERED = "Phi-4-mini-instruct"
BY_HAND = "--resource-group phi3flow --workspace-name phi3flow-project"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foundry]:
    """A subscription in which a model is fine-tuned and registered."""
    with open_foundry(tmp_path_factory.mktemp("azure")) as foundry:
        take_all(foundry.azure, foundry.template, ["fine-tune", "register"])
        yield foundry


@pytest.fixture
def foundry(shared: Foundry) -> Iterator[Foundry]:
    """The subscription with no endpoint before and after."""
    yield shared
    shared.recover()


@pytest.fixture
def project(foundry: Foundry, tmp_path: Path) -> Path:
    return foundry.lend(tmp_path / "project")


def deploy(project: Path, *arguments: str) -> Done:
    return phi3flow("deploy", *BACKEND, *arguments, "--yes", cwd=project)


def undeploy(project: Path, *arguments: str) -> Done:
    return phi3flow("undeploy", *BACKEND, *arguments, "--yes", cwd=project)


def status(project: Path) -> dict[str, dict[str, Any]]:
    done = phi3flow("status", *BACKEND, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    return {row["endpoint"]: row for row in json.loads(done.stdout) if "endpoint" in row}


def test_status_tells_what_a_fine_tuned_models_endpoint_costs_and_what_is_gone(
    foundry: Foundry, project: Path, tmp_path: Path
) -> None:
    assert deploy(project, "--name", "tuned", "--content-safety", "off").returncode == 0
    row = status(project)["tuned"]
    assert (row["state"], row["deployment"]) == ("running", "default")
    assert row["detail"] == "hosted by the hour, whether it is asked or not; content safety is off"
    assert {**status(tmp_path)["tuned"], "created_at": None} == {**row, "created_at": None}
    foundry.azure.resources.delete(f"{foundry.project_id}/serverlessEndpoints/tuned", asynchronous=False)
    gone = status(project)["tuned"]
    assert (gone["state"], gone["detail"]) == ("stopped", "it is not there any more")
    assert undeploy(project).returncode == 0
    assert status(project) == {}


def test_another_folder_deletes_what_phi3flow_made_and_nothing_else(
    foundry: Foundry, project: Path, tmp_path: Path
) -> None:
    foundry.make_for_others("theirs")
    assert deploy(project, "--name", "tuned").returncode == 0
    assert undeploy(tmp_path).stdout == "deleted the endpoint tuned\n"
    assert undeploy(tmp_path).stdout == "there is no endpoint\n"
    done = undeploy(tmp_path, "theirs")
    assert done.returncode == 2
    delete = f"az ml serverless-endpoint delete --name theirs {BY_HAND}"
    assert f"phi3flow did not make the endpoint theirs; to delete it all the same: {delete}" in done.stderr
    assert list(foundry.endpoints) == ["theirs"]
    unknown = undeploy(tmp_path, "nosuch")
    assert "there is no endpoint nosuch in the project phi3flow-project: phi3flow made none" in unknown.stderr


def test_an_endpoint_of_somebody_else_is_used_and_left(foundry: Foundry, project: Path) -> None:
    foundry.make_for_others("theirs")
    since = len(foundry.azure.writes)
    assert deploy(project, REGISTERED).returncode == 0
    assert status(project)["theirs"]["detail"] == "phi3flow did not make it"
    done = undeploy(project)
    assert done.returncode == 2
    assert "phi3flow did not make the endpoint theirs" in done.stderr
    assert len(foundry.azure.writes) == since


def test_several_endpoints_are_deleted_by_name_only(foundry: Foundry, project: Path) -> None:
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0
    assert deploy(project, "--name", "tuned").returncode == 0
    done = undeploy(project)
    assert done.returncode == 2
    assert "which one? phi3flow undeploy NAME; there are phi4, tuned" in done.stderr
    named = undeploy(project, "phi4", "--deployment", "default")
    assert "--deployment does not go with --backend serverless" in named.stderr


@pytest.fixture
def own_model(foundry: Foundry, project: Path, request: pytest.FixtureRequest) -> str:
    """A model of the test's own, which it may delete."""
    done = phi3flow("fine-tune", *BACKEND, "--suffix", suffix_for(request.node.name), "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert phi3flow("register", *BACKEND, cwd=project).returncode == 0
    return foundry.last_job.name


def is_registered(foundry: Foundry, model: str) -> bool:
    return f"{foundry.project_id}/models/{model}/versions/1" in foundry.azure.resources


def test_a_deployed_model_is_deleted_with_its_endpoint_only(foundry: Foundry, project: Path, own_model: str) -> None:
    assert deploy(project, "--name", "tuned").returncode == 0
    done = undeploy(project, "--model", own_model)
    assert done.returncode == 2
    assert f"model {own_model}:1 is deployed as tuned: --cascade deletes the endpoint, then the model" in done.stderr
    since = len(foundry.azure.writes)
    done = undeploy(project, "--model", own_model, "--cascade")
    assert done.stdout == f"deleted the endpoint tuned, then the model {own_model}:1\n", done.stderr
    assert [each.path.split("/")[-2] for each in foundry.azure.writes[since:]] == ["serverlessEndpoints", "versions"]
    assert (foundry.endpoints, is_registered(foundry, own_model)) == ({}, False)
    assert status(project) == {}


def test_a_model_without_endpoint_is_deleted_without_cascade(foundry: Foundry, project: Path, own_model: str) -> None:
    assert undeploy(project, "--model", own_model).stdout == f"deleted the model {own_model}:1\n"
    assert not is_registered(foundry, own_model)
    again = undeploy(project, "--model", f"{own_model}:1")
    assert again.returncode == 2
    assert f"has no model {own_model}:1" in again.stderr


def test_an_endpoint_alone_leaves_its_model(foundry: Foundry, project: Path, own_model: str) -> None:
    assert deploy(project).returncode == 0
    assert undeploy(project).returncode == 0
    assert is_registered(foundry, own_model)


def test_models_that_phi3flow_did_not_register_are_left(foundry: Foundry, project: Path, own_model: str) -> None:
    model = foundry.azure.resources.need(f"{foundry.project_id}/models/{own_model}/versions/1")
    del model["properties"]["tags"]["phi3flow.job"]
    (project / ".phi3flow" / "state.json").unlink()
    done = undeploy(project, "--model", f"{own_model}:1")
    assert done.returncode == 2
    assert f"phi3flow did not register the model {own_model}:1" in done.stderr
    assert f"az ml model archive --name {own_model} --version 1 {BY_HAND}" in done.stderr


def test_undeploy_that_is_killed_between_endpoint_and_model_goes_on(
    foundry: Foundry, project: Path, own_model: str
) -> None:
    assert deploy(project, "--name", "tuned").returncode == 0
    foundry.azure.after_write = killer = Killer(1)
    command = [sys.executable, "-m", "phi3flow.cli.main", "undeploy", *BACKEND, "--cascade", "--yes"]
    killer.process = subprocess.Popen(command, cwd=project, stderr=subprocess.PIPE, text=True)
    killer.process.communicate(timeout=60)
    foundry.azure.after_write = lambda _: None
    foundry.settle("tuned")
    assert (foundry.endpoints, is_registered(foundry, own_model)) == ({}, True)
    done = undeploy(project, "--cascade")
    assert done.stdout == f"deleted the endpoint tuned, then the model {own_model}:1\n", done.stderr
    assert not is_registered(foundry, own_model)
    assert undeploy(project).stdout == "there is no endpoint\n"
