"""deploy and undeploy --backend serverless: what is sent, kept, switched, refused, taken back and deleted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3flow.backends.serverless.backend import ServerlessBackend
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.foundry_project import Foundry, open_foundry
from tests.azure.serverless_journey import take_all
from tests.support.command_line import Done, phi3flow

BACKEND = ("--backend", "serverless")
REGISTERED = "Phi-4-mini-instruct"
PHI4 = f"azureml://registries/azureml/models/{REGISTERED}"
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
def azure(foundry: Foundry) -> AzureEmulator:
    return foundry.azure


@pytest.fixture
def project(foundry: Foundry, tmp_path: Path) -> Path:
    return foundry.lend(tmp_path / "project")


@pytest.fixture
def model(foundry: Foundry) -> str:
    """The name of the model that was made."""
    return foundry.last_job.name


def deploy(project: Path, *arguments: str) -> Done:
    return phi3flow("deploy", *BACKEND, *arguments, "--yes", cwd=project)


def undeploy(project: Path, *arguments: str) -> Done:
    return phi3flow("undeploy", *BACKEND, *arguments, "--yes", cwd=project)


def status(project: Path) -> dict[str, dict[str, Any]]:
    done = phi3flow("status", *BACKEND, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    return {row["endpoint"]: row for row in json.loads(done.stdout) if "endpoint" in row}


def puts(azure: AzureEmulator, since: int = 0) -> list[Request]:
    """Return the requests that made or changed endpoints."""
    return [each for each in azure.writes[since:] if each.method == "PUT" and "/serverlessEndpoints/" in each.path]


def test_the_fine_tuned_models_endpoint_is_sent_as_azure_takes_it(foundry: Foundry, project: Path, model: str) -> None:
    since = len(foundry.azure.writes)
    done = deploy(project)
    assert done.returncode == 0, done.stderr
    (put,) = puts(foundry.azure, since)
    name = put.path.rpartition("/")[2]
    assert re.fullmatch(r"phi-4-mini-instruct-suppor-[0-9a-f]{5}", name)
    guid = foundry.azure.resources.need(foundry.project_id)["properties"]["workspaceId"]
    model_id = f"azureml://locations/eastus2/workspaces/{guid}/models/{model}/versions/1"
    assert put.query == {"api-version": "2024-10-01-preview"}
    assert put.json == {
        "location": "eastus2",
        "sku": {"name": "Consumption"},
        "tags": {"created-by": "phi3flow", "model": f"{model}:1"},
        "properties": {
            "authMode": "Key",
            "modelSettings": {"modelId": model_id},
            "contentSafety": {"contentSafetyStatus": "Enabled"},
        },
    }
    assert done.stdout == f"{name} answers at https://{name}.eastus2.models.ai.azure.com/v1\n"


def test_the_registrys_model_is_served_without_its_version(foundry: Foundry, project: Path) -> None:
    assert deploy(project, f"{REGISTERED}:1", "--name", "phi4").returncode == 0
    assert foundry.endpoints["phi4"]["properties"]["modelSettings"] == {"modelId": PHI4}
    assert foundry.endpoints["phi4"]["tags"]["model"] == REGISTERED


def test_what_it_costs_is_asked_of_the_tuned_and_of_the_base_model(project: Path) -> None:
    tuned = phi3flow("deploy", *BACKEND, cwd=project)
    assert "hosted by the hour whether it is asked or not, and billed by the token" in tuned.stderr
    base = phi3flow("deploy", *BACKEND, REGISTERED, cwd=project)
    assert "billed by the token and nothing while it is not asked" in base.stderr
    assert (tuned.returncode, base.returncode) == (1, 1)


def test_a_second_time_nothing_is_sent_or_asked(azure: AzureEmulator, project: Path) -> None:
    assert deploy(project, REGISTERED).returncode == 0
    writes = len(azure.writes)
    done = phi3flow("deploy", *BACKEND, REGISTERED, cwd=project)
    assert done.returncode == 0, done.stderr
    assert len(azure.writes) == writes


def test_content_safety_is_switched_by_a_put_that_echoes_the_rest(foundry: Foundry, project: Path) -> None:
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0
    endpoint = foundry.endpoints["phi4"]
    endpoint["tags"]["owner"] = "the team"
    endpoint["properties"]["authMode"] = "KeyAndAAD"
    for switch, kept in (("off", "Disabled"), ("on", "Enabled")):
        since = len(foundry.azure.writes)
        done = deploy(project, REGISTERED, "--content-safety", switch)
        assert done.returncode == 0, done.stderr
        assert ("warning: content safety is off" in done.stderr) == (switch == "off")
        assert f"endpoint phi4: switching content safety {switch}" in done.stderr
        (put,) = puts(foundry.azure, since)
        assert put.json == {
            "location": "eastus2",
            "sku": {"name": "Consumption"},
            "tags": {"created-by": "phi3flow", "model": REGISTERED, "owner": "the team"},
            "properties": {
                "authMode": "KeyAndAAD",
                "modelSettings": {"modelId": PHI4},
                "contentSafety": {"contentSafetyStatus": kept},
            },
        }
        details = status(project)["phi4"]["detail"]
        assert details == ("content safety is off" if switch == "off" else None)


def test_it_can_be_made_without_content_safety(foundry: Foundry, project: Path) -> None:
    since = len(foundry.azure.writes)
    done = deploy(project, REGISTERED, "--name", "phi4", "--content-safety", "off")
    assert "warning: content safety is off: nobody looks at what is asked and answered" in done.stderr
    (put,) = puts(foundry.azure, since)
    assert put.json["properties"]["contentSafety"] == {"contentSafetyStatus": "Disabled"}


def _served_elsewhere(foundry: Foundry, project: Path) -> tuple[str, ...]:
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0
    return (REGISTERED, "--name", "another")


def _name_taken(foundry: Foundry, project: Path) -> tuple[str, ...]:
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0
    return ("--name", "phi4")


def _foreign_filter(foundry: Foundry, project: Path) -> tuple[str, ...]:
    foundry.make_for_others("theirs")
    return (REGISTERED, "--content-safety", "off")


def _foreign_failure(foundry: Foundry, project: Path) -> tuple[str, ...]:
    foundry.make_for_others("theirs", endpointState="CreationFailed", provisioningState="Failed")
    return (REGISTERED,)


def _other_model(foundry: Foundry, project: Path) -> tuple[str, ...]:
    return ("no-such-model",)


def _short_name(foundry: Foundry, project: Path) -> tuple[str, ...]:
    return (REGISTERED, "--name", "4x")


def _version(foundry: Foundry, project: Path) -> tuple[str, ...]:
    foundry.azure.world.archived_models = {}
    return (f"{REGISTERED}:9",)


REFUSALS = [
    (_served_elsewhere, f"{REGISTERED} is served by the endpoint phi4 already, and a model has one endpoint"),
    (
        _name_taken,
        f"the endpoint phi4 serves {PHI4}: give another --name, or phi3flow undeploy phi4 --backend serverless",
    ),
    (_foreign_filter, "phi3flow did not make the endpoint theirs, and does not switch its content safety off"),
    (
        _foreign_failure,
        f"which failed; to delete it all the same: az ml serverless-endpoint delete --name theirs {BY_HAND}",
    ),
    (_other_model, "the project phi3flow-project has no model no-such-model, and the registry azureml has no model"),
    (_short_name, "--name '4x': an endpoint has 3 to 32 letters, digits and '-', a letter first"),
    (_version, f"the registry azureml has no model {REGISTERED} (9)"),
]
Arrange = Callable[[Foundry, Path], tuple[str, ...]]


@pytest.mark.parametrize(("arrange", "says"), REFUSALS, ids=[arrange.__name__.strip("_") for arrange, _ in REFUSALS])
def test_a_deployment_that_cannot_be_is_refused(foundry: Foundry, project: Path, arrange: Arrange, says: str) -> None:
    words = arrange(foundry, project)
    writes = len(foundry.azure.writes)
    done = deploy(project, *words)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert len(foundry.azure.writes) == writes


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--traffic", "10"), "--traffic does not go with --backend serverless: an endpoint is its only deployment"),
        (("--host", "0.0.0.0"), "--host is for --backend local"),
        (("--port", "80"), "--port is for --backend local"),
        (("--key-env", "K"), "--key-env is for --backend local"),
        (("--timeout-s", "9"), "--timeout-s is for --backend local"),
        (("--sku", "Standard"), "--sku is for --backend azure-openai"),
        (("--capacity", "9"), "--capacity is for --backend azure-openai"),
        (("--source", "other"), "--source is for --backend azure-openai"),
    ],
)
def test_flags_of_other_backends_are_refused(project: Path, words: tuple[str, ...], says: str) -> None:
    done = deploy(project, REGISTERED, *words)
    assert done.returncode == 2
    assert says in done.stderr


def test_nothing_is_deployed_where_nothing_was_registered(foundry: Foundry, tmp_path: Path) -> None:
    done = deploy(tmp_path)
    assert done.returncode == 2
    assert "no model was registered from here" in done.stderr
    assert "`phi3flow register --backend serverless` after a fine-tune" in done.stderr


def test_a_creation_that_fails_is_taken_back(foundry: Foundry, project: Path) -> None:
    foundry.azure.world.failing_serverless = 1
    done = deploy(project, REGISTERED, "--name", "phi4")
    assert done.returncode == 3
    assert "endpoint phi4: " in done.stderr
    assert "could not be created. Nothing of it is left." in done.stderr
    assert (foundry.endpoints, status(project)) == ({}, {})
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0


def test_an_endpoint_whose_own_state_comes_late_is_waited_for(foundry: Foundry, project: Path) -> None:
    foundry.azure.world.serverless_lag = 3
    done = deploy(project, REGISTERED, "--name", "phi4")
    assert done.returncode == 0, done.stderr
    assert foundry.azure.world.serverless_lag == 0


def test_one_that_does_not_answer_is_taken_back(foundry: Foundry, project: Path) -> None:
    def refuse(request: Request) -> Reply | None:
        return Reply(400, {"error": {"message": "broken"}}) if request.path == "/v1/chat/completions" else None

    foundry.azure.fault = refuse
    done = deploy(project)
    assert done.returncode == 3
    assert "it does not answer: HTTP 400: " in done.stderr
    assert "Nothing of it is left." in done.stderr
    assert (foundry.endpoints, status(project)) == ({}, {})


def test_one_that_was_there_before_is_never_taken_back(foundry: Foundry, project: Path) -> None:
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0
    foundry.endpoints["phi4"]["properties"]["endpointState"] = "Suspended"
    done = deploy(project, REGISTERED)
    assert done.returncode == 3
    assert "endpoint phi4: it was there before, and Azure calls it Suspended" in done.stderr
    assert status(project)["phi4"]["state"] == "unresponsive"
    assert status(project)["phi4"]["detail"] == "Azure calls it Suspended"


def test_one_that_failed_before_is_made_anew(foundry: Foundry, project: Path) -> None:
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0
    foundry.endpoints["phi4"]["properties"].update(endpointState="CreationFailed", provisioningState="Failed")
    assert status(project)["phi4"]["state"] == "crashed"
    done = deploy(project, REGISTERED)
    assert done.returncode == 0, done.stderr
    assert foundry.endpoints["phi4"]["properties"]["endpointState"] == "Online"


def test_one_that_cannot_be_taken_back_is_said_to_be_billed(foundry: Foundry, project: Path) -> None:
    foundry.azure.world.failing_serverless = 1
    foundry.azure.world.denied = {"Microsoft.MachineLearningServices/workspaces/serverlessEndpoints/delete"}
    done = deploy(project, "--name", "tuned")
    assert done.returncode == 3
    assert "It could not be deleted again: " in done.stderr
    assert "It is billed by the hour until it is deleted: phi3flow undeploy tuned --backend serverless" in done.stderr
    foundry.azure.world.denied = set()
    assert undeploy(project).stdout == "deleted the endpoint tuned\n"
    assert foundry.endpoints == {}


def test_the_portals_preview_is_explained_with_its_setting(foundry: Foundry, project: Path) -> None:
    foundry.azure.world.foundry_deployments_feature = True
    done = deploy(project, REGISTERED)
    assert done.returncode == 3
    assert "Serverless API deployments are not available" in done.stderr
    says = 'In the portal, under Preview features, switch "Deploy models to Foundry resources" off'
    assert says in done.stderr


def test_ctrl_c_says_how_to_end_the_endpoint_and_the_same_command_goes_on(foundry: Foundry, project: Path) -> None:
    foundry.azure.world.operation_polls = 8
    process: subprocess.Popen[str] | None = None

    def interrupt(request: Request) -> Reply | None:
        if request.method == "GET" and "tuned" in foundry.endpoints and process:
            process.send_signal(signal.SIGINT)
        return None

    foundry.azure.fault = interrupt
    command = [sys.executable, "-m", "phi3flow.cli.main", "deploy", *BACKEND, "--name", "tuned", "--yes"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert "Azure goes on with the endpoint tuned. It is billed by the hour until it is deleted: " in said
    assert "phi3flow undeploy tuned --backend serverless" in said
    foundry.azure.fault = lambda _: None
    since = len(foundry.azure.writes)
    assert list(status(project)) == ["tuned"]
    assert deploy(project).returncode == 0
    assert puts(foundry.azure, since) == []


def test_an_endpoint_without_url_is_not_connected_to(foundry: Foundry, project: Path) -> None:
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0
    del foundry.endpoints["phi4"]["properties"]["inferenceEndpoint"]
    with pytest.raises(Exception, match="the endpoint phi4 has no URL: Azure calls it Online"):
        ServerlessBackend(project).connection("phi4")


@pytest.mark.slow
def test_what_content_safety_blocks_is_said_by_the_chat_flow(foundry: Foundry, project: Path) -> None:
    """In both forms: a question is refused, and an answer is cut off."""
    foundry.azure.world.blocked_words = {"dynamite"}
    foundry.azure.answer_chat = lambda _, messages, __: messages[-1]["content"].replace("fuse", "dynamite")
    assert deploy(project, REGISTERED, "--name", "phi4").returncode == 0
    assert phi3flow("connect", "phi3_endpoint", "--from-deployment", "--to", "foundry", cwd=project).returncode == 0
    questions = ("How is bread made?", "How is dynamite made?", "What has a fuse?")
    (project / "lines.jsonl").write_text("".join(f"{json.dumps({'question': each})}\n" for each in questions))
    flags = ("--data", "lines.jsonl", "--name")
    assert phi3flow("batch-run", "flows/chat_phi3", *flags, "filtered", cwd=project).returncode == 1
    rows = [json.loads(row) for row in (project / ".runs" / "filtered" / "results.jsonl").read_text().splitlines()]
    errors = {row["inputs"]["question"]: (row.get("error") or {}).get("message") for row in rows}
    assert errors[questions[0]] is None
    assert "content safety blocked the question (hate: high)" in errors[questions[1]]
    assert "content safety blocked the answer (hate: high)" in errors[questions[2]]
    assert deploy(project, REGISTERED, "--content-safety", "off").returncode == 0
    assert phi3flow("batch-run", "flows/chat_phi3", *flags, "unfiltered", cwd=project).returncode == 0
