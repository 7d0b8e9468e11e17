"""Nothing bills unseen: what runs is known from anywhere, is taken back where anything fails, and says its price."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from phi3flow.azure import patience
from phi3flow.backends import coming_up
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.roles import ROLES
from tests.azure.emulator.world import CALLER, SUBSCRIPTION
from tests.azure.journey import BASE, STEPS, make_project, take_all, tutorial_world
from tests.azure.snapshots import resource
from tests.azure.wrong_worlds import GROUP, WORKSPACE, endpoint_of_others
from tests.support.command_line import Done, phi3flow

ML = "Microsoft.MachineLearningServices/workspaces"
DEPLOY_BASE = STEPS["deploy base"]
PRICE = "1 x Standard_NC24ads_A100_v4, 3.67 dollars an hour (88.15 a day)"


@pytest.fixture
def ready(azure: AzureEmulator, project: Path) -> AzureEmulator:
    """A subscription in which everything is made and nothing was deployed."""
    make_project(project)
    take_all(azure, project, ["azure up"])
    return azure


def names(azure: AzureEmulator) -> set[str]:
    return {row["name"] for row in azure.resources if row["type"] == f"{ML}/onlineEndpoints/deployments"}


def give_role(azure: AzureEmulator, principal: str, role: str) -> None:
    """Give a role on the whole group."""
    scope = f"{GROUP}/providers/Microsoft.Authorization"
    definition = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{ROLES[role][0]}"
    properties = {"principalId": principal, "roleDefinitionId": definition, "scope": GROUP}
    azure.resources.store(f"{scope}/roleAssignments/{uuid.uuid4()}", {"properties": properties})


def status(folder: Path) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(phi3flow("status", "--backend", "azureml", "--json", cwd=folder).stdout)
    return shown


def test_a_deployment_in_somebody_elses_endpoint_is_known_priced_and_deleted(
    ready: AzureEmulator, tmp_path: Path
) -> None:
    endpoint_of_others("ours-1", "blue")(ready)
    (row,) = status(tmp_path)
    assert (row["endpoint"], row["deployment"], row["dollars_per_day"]) == ("theirs", "ours-1", 88.15)
    assert "phi3flow did not make its endpoint" in row["detail"]
    done = phi3flow(*STEPS["undeploy"], cwd=tmp_path)
    assert done.stdout == "deleted the deployment ours-1 of the endpoint theirs\n", done.stderr
    assert names(ready) == {"blue"}
    assert phi3flow(*STEPS["undeploy"], cwd=tmp_path).stdout == "there is no endpoint\n"


def test_down_takes_ours_out_of_somebody_elses_endpoint_and_leaves_theirs(ready: AzureEmulator, project: Path) -> None:
    endpoint_of_others("ours-1", "blue")(ready)
    endpoint = resource(ready, f"{ML}/onlineEndpoints", "theirs")
    endpoint["properties"]["traffic"] = {"ours-1": 40, "blue": 60}
    done = phi3flow(*STEPS["azure down"], cwd=project)
    assert done.returncode == 0, done.stderr
    assert names(ready) == {"blue"}
    assert resource(ready, f"{ML}/onlineEndpoints", "theirs")["properties"]["traffic"] == {"blue": 100}
    assert "kept: workspace phi3flow: phi3flow did not make its endpoint theirs" in done.stderr


@pytest.mark.slow
def test_down_keeps_an_endpoint_of_ours_in_which_somebody_else_deployed(ready: AzureEmulator, project: Path) -> None:
    take_all(ready, project, ["deploy base"])
    ours = resource(ready, f"{ML}/onlineEndpoints")
    body = {key: value for key, value in resource(ready, f"{ML}/onlineEndpoints/deployments").items() if key != "tags"}
    ready.resources.store(f"{ours['id']}/deployments/canary", body)
    done = phi3flow(*STEPS["azure down"], cwd=project)
    assert done.returncode == 0, done.stderr
    assert names(ready) == {"canary"}
    assert f"kept: endpoint {ours['name']}: phi3flow did not make its deployment canary" in done.stderr


def deploy_in_a_process(azure: AzureEmulator, project: Path, number: signal.Signals) -> tuple[int, str]:
    """Deploy, and send a signal once Azure has begun to make the deployment."""
    process = subprocess.Popen(
        [sys.executable, "-m", "phi3flow.cli.main", *DEPLOY_BASE],
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

    def interrupt(request: Request) -> None:
        if "/deployments/" in request.path and request.method == "PUT":
            os.kill(process.pid, number)

    azure.after_write = interrupt
    said = process.communicate(timeout=120)[1]
    azure.after_write = lambda _: None
    return process.returncode, said


def test_ctrl_c_in_deploy_says_what_goes_on_what_it_costs_and_how_to_end_it(
    ready: AzureEmulator, project: Path, tmp_path: Path
) -> None:
    code, said = deploy_in_a_process(ready, project, signal.SIGINT)
    assert code == 130, said
    assert f"Azure goes on with the deployment {BASE}" in said
    assert f"It costs until it is deleted: {PRICE}. To end it: phi3flow undeploy " in said
    command = said.partition("To end it: ")[2].split("\n")[0].split()
    (row,) = [row for row in status(project) if row.get("deployment")]
    assert row["deployment"] == BASE
    done = phi3flow(*command[1:], "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert names(ready) == set()


@pytest.mark.slow
def test_a_deployment_that_was_left_is_gone_on_with(ready: AzureEmulator, project: Path) -> None:
    assert deploy_in_a_process(ready, project, signal.SIGINT)[0] == 130
    writes = len(ready.writes)
    done = phi3flow(*DEPLOY_BASE, cwd=project)
    assert done.returncode == 0, done.stderr
    assert [request for request in ready.writes[writes:] if "/deployments/" in request.path] == []


def test_a_deployment_that_is_made_for_ever_is_taken_back(
    ready: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.world.creation_polls, ready.world.poll_ms = 4, 400
    monkeypatch.setattr(coming_up, "CREATION_BOUND_S", 0.5)
    done = phi3flow(*DEPLOY_BASE, cwd=project)
    assert done.returncode == 3
    assert "it was still being created after 1." in done.stderr
    assert "It was deleted again; the traffic is as it was." in done.stderr
    assert names(ready) == set()
    assert not [row for row in status(project) if row.get("deployment")]


@pytest.mark.slow
def test_what_takes_long_is_said_now_and_then(
    ready: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready.world.creation_polls, ready.world.poll_ms = 6, 400
    monkeypatch.setattr(coming_up, "NOTED_EVERY_S", 1.0)
    done = phi3flow(*DEPLOY_BASE, cwd=project)
    assert done.returncode == 0, done.stderr
    assert f"creating {PRICE}; this usually takes up to 15 minutes" in done.stderr
    assert "still being created after 1." in done.stderr


@pytest.mark.slow
def test_a_wait_that_azure_asks_for_is_said(
    ready: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    throttled: list[Request] = []

    def throttle(request: Request) -> Reply | None:
        if request.path.endswith("/usages") and not throttled:
            throttled.append(request)
            return Reply(429, {"error": {"code": "TooManyRequests", "message": "Slowly."}}, {"Retry-After": "1"})
        return None

    monkeypatch.setattr(patience, "SAID_FROM_S", 1.0)
    ready.fault = throttle
    done = phi3flow("azure", "plan", cwd=project)
    assert done.returncode == 0, done.stderr
    said = "Azure asks to wait 1.0 s before it is asked again (HTTP 429): GET Microsoft.MachineLearningServices/"
    assert said in caplog.text


@pytest.mark.slow
def test_a_wait_that_azure_asks_the_sdk_for_is_said(running: AzureEmulator, project: Path) -> None:
    throttled: list[Request] = []

    def throttle(request: Request) -> Reply | None:
        if request.method == "PUT" and "/jobs/" in request.path and not throttled:
            throttled.append(request)
            return Reply(429, {"error": {"code": "TooManyRequests", "message": "Slowly."}}, {"Retry-After": "1"})
        return None

    running.fault = throttle
    program = (
        "import sys; from phi3flow.azure import patience; patience.SAID_FROM_S = 1.0; "
        "from phi3flow.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, *STEPS["fine-tune"], "--seed", "2", "--detach"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert throttled
    assert "Azure asks to wait 1.0 s before it is asked again (HTTP 429): PUT Microsoft.Machine" in done.stderr


@pytest.mark.slow
def test_another_number_of_instances_is_applied_where_the_settings_say_so(ready: AzureEmulator, project: Path) -> None:
    take_all(ready, project, ["deploy base"])
    made = resource(ready, f"{ML}/onlineEndpoints/deployments")
    before = json.dumps({**made, "sku": None, "systemData": None})
    (project / "phi3flow.toml").write_text("[azure]\ninstances = 2\n", encoding="utf-8")
    writes = len(ready.writes)
    done = phi3flow(*DEPLOY_BASE, cwd=project)
    assert "from 1 to 2 instances" in done.stderr
    assert [request.json for request in ready.writes[writes:]] == [{"sku": {"name": "Default", "capacity": 2}}]
    changed = resource(ready, f"{ML}/onlineEndpoints/deployments")
    assert json.dumps({**changed, "sku": None, "systemData": None}) == before
    (row,) = [row for row in status(project) if row.get("deployment")]
    assert (row["instances"], row["dollars_per_day"]) == (2, round(3.673 * 48, 2))


@pytest.mark.slow
def test_instances_and_size_that_stay_are_said(ready: AzureEmulator, project: Path) -> None:
    take_all(ready, project, ["deploy base"])
    resource(ready, f"{ML}/onlineEndpoints/deployments")["sku"]["capacity"] = 3
    (project / "phi3flow.toml").write_text('[azure]\ndeployment_size = "Standard_NC40ads_H100_v5"\n', encoding="utf-8")
    writes = len(ready.writes)
    done = phi3flow(*DEPLOY_BASE, cwd=project)
    assert done.returncode == 0, done.stderr
    assert "it has 3 instances and keeps them" in done.stderr
    assert "it runs on Standard_NC24ads_A100_v4, and stays there" in done.stderr
    assert len(ready.writes) == writes


@pytest.mark.slow
def test_two_models_have_two_endpoints_and_a_connection_each(ready: AzureEmulator, project: Path) -> None:
    for name in ("phi4-one", "phi4-two"):
        done = phi3flow("deploy", "Phi-4-mini-instruct", "--backend", "azureml", "--name", name, "--yes", cwd=project)
        assert done.returncode == 0, done.stderr
        connect = ("connect", name.replace("-", "_"), "--from-deployment", name)
        assert phi3flow(*connect, cwd=project).returncode == 0
        assert f"https://{name}.eastus2" in (project / f"connections/{name.replace('-', '_')}.yml").read_text()
    refused = phi3flow("connect", "three", "--from-deployment", "phi4-one", "--deployment", "blue", cwd=project)
    assert refused.returncode == 2
    assert f"--deployment blue: there is no such deployment; there are {BASE} of phi4-one" in refused.stderr


def cancel(project: Path, *arguments: str) -> Done:
    return phi3flow("cancel", "--backend", "azureml", *arguments, "--json", cwd=project)


@pytest.fixture
def running(ready: AzureEmulator, project: Path) -> AzureEmulator:
    """A subscription in which a fine-tune runs that nobody follows."""
    take_all(ready, project, ["prepare-data"])
    done = phi3flow(*STEPS["fine-tune"], "--detach", cwd=project)
    assert done.returncode == 0, done.stderr
    return ready


def test_cancel_ends_the_latest_job_and_waits_for_it(running: AzureEmulator, project: Path) -> None:
    (job,) = running.jobs.all
    assert cancel(project).returncode == 1, "no terminal, no answer"
    assert job.status != "Canceled"
    done = cancel(project, "--yes")
    assert json.loads(done.stdout) == {"backend": "azureml", "job": job.name, "status": "Canceled"}
    assert job.status == "Canceled"
    assert [row["state"] for row in status(project)] == ["Canceled"]
    again = cancel(project, job.name, "--yes")
    assert json.loads(again.stdout)["status"] == "Canceled"


@pytest.mark.slow
def test_a_job_is_canceled_from_another_folder_by_its_name(
    running: AzureEmulator, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (job,) = running.jobs.all
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    assert json.loads(cancel(elsewhere, job.name, "--yes").stdout)["status"] == "Canceled"
    assert not (elsewhere / ".phi3flow" / "state.json").exists()


@pytest.mark.slow
def test_register_takes_the_latest_job_that_completed(running: AzureEmulator, project: Path) -> None:
    (first,) = running.jobs.all
    while first.status != "Completed":
        status(project)
    running.world.job_failure = "CUDA out of memory."
    assert phi3flow(*STEPS["fine-tune"], "--seed", "1", cwd=project).returncode == 3
    done = phi3flow(*STEPS["register"], cwd=project)
    assert done.returncode == 0, done.stderr
    assert resource(running, f"{ML}/models/versions")["properties"]["tags"]["phi3flow.job"] == first.name


@pytest.mark.slow
def test_register_says_where_no_job_has_completed(running: AzureEmulator, project: Path) -> None:
    running.world.job_failure = "CUDA out of memory."
    assert phi3flow(*STEPS["fine-tune"], cwd=project).returncode == 3
    done = phi3flow(*STEPS["register"], cwd=project)
    (job,) = running.jobs.all
    assert f"no job that was submitted from here has completed: {job.name} is Failed" in done.stderr


@pytest.mark.slow
def test_a_datastore_without_secrets_is_written_by_the_callers_login(ready: AzureEmulator, project: Path) -> None:
    store = ready.resources.need(f"{WORKSPACE}/datastores/workspaceblobstore")
    store["properties"]["credentials"] = {"credentialsType": "None"}
    refused = phi3flow(*DEPLOY_BASE, cwd=project)
    assert refused.returncode == 3
    assert "upload of the scoring code" in refused.stderr
    give_role(ready, CALLER, "Storage Blob Data Contributor")
    done = phi3flow(*DEPLOY_BASE, cwd=project)
    assert done.returncode == 0, done.stderr
    assert names(ready) == {BASE}


def test_the_tutorials_quota_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AzureEmulator(tmp_path, tutorial_world()) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        shown = json.loads(phi3flow("azure", "plan", "--json", cwd=tmp_path).stdout)
    costs = [(row["dollars_per_hour"], row["dollars_per_day"]) for row in shown["costs"]]
    assert costs == [(3.673, 88.152), (3.673, 88.152)]
    assert [row["severity"] for row in shown["findings"] if row["severity"] == "error"] == []
