"""`deploy`, `status`, `connect` and `undeploy --backend azure-openai`: what is made, told, refused and taken back."""

from __future__ import annotations

import json
import re
from functools import partial

import pytest

from tests.azure.emulator.messages import Reply, Request
from tests.azure.openai_account import SUBDOMAIN
from tests.azure.openai_project import MODEL, OpenAIProject, other_account
from tests.support.command_line import phi3flow
from tests.support.paths import FLOWS

BASE_URL = f"https://{SUBDOMAIN}.openai.azure.com/openai/v1"
STATE = ".phi3flow/state.json"


def make_of_others(project: OpenAIProject, name: str) -> None:
    """Deploy gpt-oss-20b as somebody else does, without a mark of phi3flow's."""
    model = {"format": "OpenAI-OSS", "name": "gpt-oss-20b", "version": "1"}
    body = {"sku": {"name": "GlobalStandard", "capacity": 5}, "tags": {}}
    properties = {"model": model, "provisioningState": "Succeeded"}
    project.azure.resources.store(f"{project.account_id}/deployments/{name}", {**body, "properties": properties})


def refuse_deletion(part: str, request: Request) -> Reply | None:
    """Refuse to delete what has ``part`` in its path."""
    refused = Reply(400, {"error": {"code": "BadRequest", "message": "Not now."}})
    return refused if request.method == "DELETE" and part in request.path else None


def is_empty(project: OpenAIProject) -> bool:
    """Whether nothing is left of what was trained and deployed."""
    return not (project.deployments or project.models or project.jobs or project.files)


def test_a_deployment_is_made_for_a_day_asked_once_and_noted(openai_project: OpenAIProject) -> None:
    model = openai_project.tuned_model("--suffix", "support")
    openai_project.azure.requests.clear()
    told = openai_project.told("deploy", "--yes")
    (name,) = openai_project.deployments
    assert told == {"backend": "azure-openai", "endpoint": name, "deployment": name, "url": BASE_URL, "traffic": 100}
    assert re.fullmatch(r"gpt-4-1-mini-2025-04-14-support-[0-9a-f]{5}", name)
    (put,) = openai_project.azure.writes
    assert (put.method, put.query["api-version"]) == ("PUT", "2025-06-01")
    assert put.json == {
        "sku": {"name": "DeveloperTier", "capacity": 50},
        "tags": {"created-by": "phi3flow", "model": model},
        "properties": {"model": {"format": "OpenAI", "name": model, "version": "1"}},
    }
    (chat,) = [request for request in openai_project.azure.requests if request.path.endswith("/chat/completions")]
    assert chat.json == {"messages": [{"role": "user", "content": "Say OK."}], "model": name}
    writes = len(openai_project.azure.writes)
    assert openai_project.told("deploy", "--yes") == told
    assert len(openai_project.azure.writes) == writes


def test_sku_and_capacity_are_the_callers_and_only_the_capacity_is_changed_later(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model()
    openai_project.must("deploy", "--name", "tuned", "--sku", "standard", "--capacity", "20", "--yes")
    assert openai_project.deployments["tuned"]["sku"] == {"name": "Standard", "capacity": 20}
    openai_project.must("deploy", "--name", "tuned", "--yes")
    assert openai_project.deployments["tuned"]["sku"] == {"name": "Standard", "capacity": 20}
    openai_project.must("deploy", "--name", "tuned", "--capacity", "30", "--yes")
    (patch,) = [request for request in openai_project.azure.writes if request.method == "PATCH"]
    assert patch.json == {"sku": {"name": "Standard", "capacity": 30}}
    assert openai_project.deployments["tuned"]["sku"] == {"name": "Standard", "capacity": 30}
    done = openai_project.give("deploy", "--name", "tuned", "--sku", "GlobalStandard", "--yes")
    assert done.returncode == 2
    assert "the deployment tuned is Standard: give another --name" in done.stderr


def test_what_a_deployment_costs_is_asked_before_it_is_made(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model()
    for flags, cost in (
        ((), "DeveloperTier, billed by the token, no hourly fee and no guarantee, and removed by Azure after 24 hours"),
        (("--sku", "Standard"), "Standard, hosted by the hour whether it is asked or not, and billed by the token"),
        (("gpt-oss-20b",), "GlobalStandard, billed by the token"),
    ):
        done = openai_project.give("deploy", *flags)
        assert done.returncode == 1
        assert f" on {cost}?" in done.stderr
    assert openai_project.deployments == {}


def test_a_model_of_another_regions_resource_is_deployed(openai_project: OpenAIProject) -> None:
    other = other_account("phi3flow-west")
    there = OpenAIProject(openai_project.azure, openai_project.folder, other)
    settings = openai_project.folder / "phi3flow.toml"
    before = settings.read_text()
    settings.write_text(before.replace(SUBDOMAIN, "phi3flow-west"), encoding="utf-8")
    openai_project.azure.world.roles[other] = openai_project.azure.world.roles[openai_project.account_id]
    model = there.tuned_model("--suffix", "support", model="gpt-oss-20b")
    settings.write_text(before, encoding="utf-8")
    done = openai_project.give("deploy", model, "--name", "moved", "--yes")
    assert done.returncode == 2
    assert f"the resource {SUBDOMAIN} has no model {model}" in done.stderr
    openai_project.must("deploy", model, "--source", "phi3flow-west", "--name", "moved", "--yes")
    described = openai_project.deployments["moved"]["properties"]["model"]
    assert described == {"format": "OpenAI-OSS", "name": model, "version": "1", "source": other}
    openai_project.must("deploy", model, "--source", other, "--name", "moved", "--yes")
    done = openai_project.give("deploy", model, "--source", "nosuch", "--name", "moved", "--yes")
    assert done.returncode == 2
    assert "--source nosuch: there is no such Azure OpenAI resource" in done.stderr


def test_a_base_model_is_found_by_any_of_its_names(openai_project: OpenAIProject) -> None:
    for number, reference in enumerate(("gpt-5-mini", "gpt-5-mini:2025-08-07", "GPT-5-mini-2025-08-07")):
        openai_project.must("deploy", reference, "--name", f"base-{number}", "--yes")
    models = [row["properties"]["model"] for row in openai_project.deployments.values()]
    assert models == [{"format": "OpenAI", "name": "gpt-5-mini", "version": "2025-08-07"}] * 3
    done = openai_project.give("deploy", "gpt-7", "--yes")
    assert done.returncode == 2
    assert f"the resource {SUBDOMAIN} has no model gpt-7; it has " in done.stderr


def test_a_deployment_that_fails_is_taken_back(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.openai_failing_deployments = 1
    done = openai_project.give("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    assert done.returncode == 3
    assert "The deployment could not be created" in done.stderr
    assert "Nothing of it is left." in done.stderr
    assert openai_project.deployments == {}
    assert openai_project.told("status") == []
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")


def test_a_deployment_that_does_not_answer_is_taken_back(openai_project: OpenAIProject) -> None:
    def refuse(request: Request) -> Reply | None:
        refused = Reply(400, {"error": {"code": "BadRequest", "message": "The model is asleep."}})
        return refused if request.path.endswith("/chat/completions") else None

    openai_project.azure.fault = refuse
    done = openai_project.give("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    assert done.returncode == 3
    assert "it does not answer: HTTP 400" in done.stderr
    assert openai_project.deployments == {}


def test_one_that_failed_earlier_makes_way(openai_project: OpenAIProject) -> None:
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    openai_project.deployments["base"]["properties"]["provisioningState"] = "Failed"
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    assert openai_project.deployments["base"]["properties"]["provisioningState"] == "Succeeded"


def test_a_model_that_content_safety_refuses_is_trained_and_not_deployed(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.openai_model_filtered = {"Self Harm"}
    openai_project.tuned_model()
    done = openai_project.give("deploy", "--yes")
    assert done.returncode == 3
    assert "content safety refuses the trained model for Self Harm: " in done.stderr
    assert "Take such examples out and train again. Nothing of it is left." in done.stderr
    assert openai_project.deployments == {}


def test_data_that_content_safety_refuses_is_said(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.openai_data_filtered = {"self_harm", "hate"}
    done = openai_project.fine_tune()
    assert done.returncode == 3
    assert "content safety refuses the training data for hate, self_harm: " in done.stderr


def test_more_than_the_quota_is_refused_with_what_helps(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model()
    done = openai_project.give("deploy", "--capacity", "501", "--yes")
    assert done.returncode == 3
    assert "the quota limit is 500" in done.stderr
    assert "What helps: a smaller --capacity, another --sku, or more quota" in done.stderr
    assert openai_project.deployments == {}


@pytest.mark.slow
@pytest.mark.slow
def test_more_jobs_than_the_resource_takes_are_refused_with_what_helps(openai_project: OpenAIProject) -> None:
    for number in range(23):
        openai_project.must("fine-tune", "--model", MODEL, "--yes", "--seed", str(number), "--detach")
    done = openai_project.fine_tune("--seed", "23")
    assert done.returncode == 3
    assert "23 fine-tuning jobs that have not ended" in done.stderr
    assert "What helps: " in done.stderr
    assert len(openai_project.posted("/fine_tuning/jobs")) == 24


@pytest.mark.slow
def test_an_idle_deployment_is_told_by_status_and_by_the_flow(
    openai_project: OpenAIProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = openai_project.tuned_model()
    openai_project.must("deploy", "--name", "tuned", "--sku", "Standard", "--yes")
    assert "Azure removes it after 15 idle days" in openai_project.must("status").stdout
    assert openai_project.azure.openai.remove_idle(15 * 24) == ["tuned"]
    (status,) = [row for row in openai_project.told("status") if "endpoint" in row]
    assert status["state"] == "stopped"
    assert "after 15 idle days; the model is kept: phi3flow deploy --backend azure-openai" in status["detail"]
    assert openai_project.models == [model]
    (openai_project.folder / "flows").symlink_to(FLOWS)
    monkeypatch.setenv("PHI3_KEY", openai_project.keys[0])
    assert phi3flow("connect", "phi3_endpoint", "--from-deployment", cwd=openai_project.folder).returncode == 0
    lines = openai_project.folder / "lines.jsonl"
    lines.write_text('{"question": "Who?", "chat_history": []}\n', encoding="utf-8")
    done = phi3flow(
        "batch-run",
        "flows/chat_phi3",
        "--data",
        "lines.jsonl",
        "--name",
        "idle",
        "--max-retries",
        "0",
        cwd=openai_project.folder,
    )
    assert done.returncode == 1
    results = (openai_project.folder / ".runs/idle/results.jsonl").read_text(encoding="utf-8")
    assert "the deployment tuned does not exist, or Azure removed it" in results
    openai_project.must("deploy", "--name", "tuned", "--yes")
    assert list(openai_project.deployments) == ["tuned"]


def test_the_developer_tier_ends_after_a_day_and_status_says_when(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model()
    openai_project.must("deploy", "--name", "tuned", "--yes")
    (status,) = [row for row in openai_project.told("status") if "endpoint" in row]
    assert re.search(r"no hourly fee; Azure removes it at \d{4}-\d\d-\d\d \d\d:\d\d UTC, 24 hours", status["detail"])


def test_a_name_that_another_model_has_is_refused(openai_project: OpenAIProject) -> None:
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    done = openai_project.give("deploy", "Ministral-3B", "--name", "base", "--yes")
    assert done.returncode == 2
    assert "the deployment base serves gpt-oss-20b: give another --name, or phi3flow undeploy base" in done.stderr


def test_what_others_deployed_is_neither_taken_over_nor_deleted(openai_project: OpenAIProject) -> None:
    make_of_others(openai_project, "theirs")
    for flags in ((), ("--capacity", "9")):
        done = openai_project.give("deploy", "gpt-oss-20b", "--name", "theirs", *flags, "--yes")
        assert done.returncode == 2
        assert "phi3flow did not make the deployment theirs: give another --name" in done.stderr
    done = openai_project.give("undeploy", "theirs", "--yes")
    assert done.returncode == 2
    assert (
        "az cognitiveservices account deployment delete --resource-group rg --name phi3flow-openai "
        "--deployment-name theirs"
    ) in done.stderr
    assert openai_project.give("undeploy", "--yes").returncode == 0
    assert openai_project.azure.writes == []
    assert openai_project.told("status") == []


def test_what_was_deployed_from_elsewhere_is_told_and_ended(openai_project: OpenAIProject) -> None:
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    (openai_project.folder / STATE).unlink()
    (status,) = openai_project.told("status")
    assert (status["endpoint"], status["model"], status["state"]) == ("base", "gpt-oss-20b", "running")
    openai_project.must("undeploy", "--yes")
    assert openai_project.deployments == {}


def test_an_unknown_deployment_is_refused_with_those_that_there_are(openai_project: OpenAIProject) -> None:
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    done = openai_project.give("undeploy", "nosuch", "--yes")
    assert done.returncode == 2
    assert f"there is no deployment nosuch in the resource {SUBDOMAIN}: phi3flow made base" in done.stderr


def test_cascade_deletes_in_order_and_keeps_what_another_job_has(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model("--seed", "1")
    model = openai_project.tuned_model("--seed", "2")
    first = openai_project.jobs[1]
    openai_project.must("register")
    openai_project.must("deploy", "--name", "tuned", "--yes")
    openai_project.azure.requests.clear()
    told = openai_project.told("undeploy", "--cascade", "--yes")
    deleted = [request.path.rpartition("/openai/v1")[2] or request.path for request in openai_project.azure.writes]
    kinds = [re.sub(r".*/(deployments|models|files|jobs)/.*", r"\1", path) for path in deleted]
    assert kinds == ["deployments", "models", "files", "jobs"]
    assert (told["endpoint"], told["model"]) == ("tuned", model)
    assert openai_project.jobs == [first]
    assert {file.id for file in openai_project.files} == {
        first.settings.training_file.id,
        first.settings.validation_file.id if first.settings.validation_file else "",
        first.results_id,
    }
    assert {row["state"] for row in openai_project.told("status")} == {"Completed", "Deleted"}
    assert openai_project.fine_tune("--seed", "2").returncode == 0


def test_a_model_that_is_deployed_is_deleted_with_cascade_only(openai_project: OpenAIProject) -> None:
    model = openai_project.tuned_model("--epochs", "2")
    openai_project.must("deploy", "--name", "tuned", "--yes")
    openai_project.must("deploy", f"{model}:ckpt-step-12", "--name", "early", "--yes")
    done = openai_project.give("undeploy", "--model", model, "--yes")
    assert done.returncode == 2
    assert f"model {model} is deployed as tuned, early: --cascade" in done.stderr
    done = openai_project.give("undeploy", "early", "--cascade", "--yes")
    assert done.returncode == 2
    assert f"model {model} is deployed as tuned too: undeploy these first, or leave --cascade" in done.stderr
    openai_project.must("undeploy", "--model", model, "--cascade", "--yes")
    assert is_empty(openai_project)
    done = openai_project.give("undeploy", "--model", model, "--cascade", "--yes")
    assert done.returncode == 2
    assert f"the resource has no fine-tuned model {model}:1; it has none" in done.stderr


def test_cascade_from_a_checkpoint_deletes_the_model_it_is_of(openai_project: OpenAIProject) -> None:
    model = openai_project.tuned_model("--epochs", "2")
    openai_project.must("deploy", f"{model}:ckpt-step-12", "--name", "early", "--yes")
    openai_project.must("undeploy", "early", "--cascade", "--yes")
    assert is_empty(openai_project)


def test_a_model_alone_is_deleted_and_its_job_stays(openai_project: OpenAIProject) -> None:
    model = openai_project.tuned_model()
    openai_project.must("register")
    openai_project.must("undeploy", "--model", model, "--yes")
    assert openai_project.models == []
    assert len(openai_project.jobs) == 1
    assert [row for row in openai_project.told("status") if "model" in row] == []


def test_a_base_model_is_deployed_twice_and_cascade_ends_one(openai_project: OpenAIProject) -> None:
    for name in ("one", "two"):
        openai_project.must("deploy", "gpt-oss-20b", "--name", name, "--yes")
    done = openai_project.give("undeploy", "--yes")
    assert done.returncode == 2
    assert "which one?" in done.stderr
    openai_project.must("undeploy", "one", "--cascade", "--yes")
    assert list(openai_project.deployments) == ["two"]


def test_an_undeploy_that_ended_in_the_middle_goes_on(openai_project: OpenAIProject) -> None:
    openai_project.tuned_model("--suffix", "support")
    openai_project.must("register")
    openai_project.must("deploy", "--name", "tuned", "--yes")
    for part in ("/models/", "/files/", "/fine_tuning/jobs/"):
        openai_project.azure.fault = partial(refuse_deletion, part)
        done = openai_project.give("undeploy", "tuned", "--cascade", "--yes")
        assert done.returncode == 3
        assert "Not now" in done.stderr
    openai_project.azure.fault = lambda _: None
    openai_project.must("undeploy", "tuned", "--cascade", "--yes")
    assert is_empty(openai_project)
    state = json.loads((openai_project.folder / STATE).read_text(encoding="utf-8"))
    assert (state["models"], state["endpoints"]) == ([], [])


def test_without_a_model_and_without_a_job_there_is_nothing_to_deploy(openai_project: OpenAIProject) -> None:
    done = openai_project.give("deploy", "--yes")
    assert done.returncode == 2
    assert (
        "no model was fine-tuned from here: deploy MODEL, or `phi3flow fine-tune --backend azure-openai`" in done.stderr
    )


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--sku", "Platinum"), "--sku Platinum: there are DeveloperTier, Standard"),
        (("--sku", "DeveloperTier"), "--sku DeveloperTier is for fine-tuned models"),
        (("--name", "a"), "--name 'a': a deployment has 2 to 64 letters"),
        (("--traffic", "10"), "--traffic does not go with --backend azure-openai"),
        (("--content-safety", "off"), "--content-safety does not go with --backend azure-openai"),
        (("--port", "80"), "--port is for --backend local"),
    ],
)
def test_what_does_not_go_is_refused_by_the_flags_name(
    openai_project: OpenAIProject, flags: tuple[str, ...], says: str
) -> None:
    done = openai_project.give("deploy", "gpt-oss-20b", *flags, "--yes")
    assert done.returncode == 2
    assert says in done.stderr
    assert openai_project.azure.writes == []


def test_status_of_a_resource_that_is_gone_says_so(openai_project: OpenAIProject) -> None:
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    for name in list(openai_project.deployments):
        openai_project.azure.resources.delete(f"{openai_project.account_id}/deployments/{name}", asynchronous=False)
    openai_project.azure.resources.delete(openai_project.account_id, asynchronous=False)
    (status,) = openai_project.told("status")
    assert (status["endpoint"], status["state"]) == ("base", "stopped")
