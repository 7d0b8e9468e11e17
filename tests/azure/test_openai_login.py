"""With a key and no subscription, or with a login and no key: which verbs work, what is said, and no key is told."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.azure.arm_client import GROUP
from tests.azure.emulator.messages import Request
from tests.azure.openai_account import ACCOUNT, ENDPOINT, SUBDOMAIN
from tests.azure.openai_project import BACKEND, MODEL, OpenAIProject, other_account

LOGIN = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_SUBSCRIPTION_ID")


@pytest.fixture
def keyed(openai_project: OpenAIProject, monkeypatch: pytest.MonkeyPatch) -> OpenAIProject:
    """A project that knows endpoint and key, and nothing of the subscription."""
    (openai_project.folder / "phi3flow.toml").unlink()
    for name in LOGIN:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", ENDPOINT)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", openai_project.keys[1])
    return openai_project


def is_arm(request: Request) -> bool:
    return request.host == "management.azure.com"


def test_jobs_need_a_key_and_no_subscription(keyed: OpenAIProject) -> None:
    job = keyed.told("fine-tune", "--model", MODEL, "--yes", "--detach")["job"]
    assert keyed.told("cancel", "--yes")["job"] == job
    model = keyed.tuned_model("--seed", "1")
    assert keyed.told("register")["model"] == model
    assert {row["state"] for row in keyed.told("status")} == {"Canceled", "Completed", "registered"}
    assert not any(map(is_arm, keyed.azure.requests))
    assert {request.headers["authorization"] for request in keyed.azure.requests} == {f"Bearer {keyed.keys[1]}"}


def test_what_takes_a_subscription_says_so(keyed: OpenAIProject) -> None:
    keyed.tuned_model()
    for words in (("deploy", "--yes"), ("undeploy", "--yes")):
        done = keyed.give(*words)
        assert done.returncode == 2
        assert (
            "azure.subscription_id is missing: set it, or the environment variable AZURE_SUBSCRIPTION_ID" in done.stderr
        )


def test_status_of_a_deployment_says_what_it_would_take_to_ask(
    openai_project: OpenAIProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    monkeypatch.delenv("AZURE_SUBSCRIPTION_ID")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", ENDPOINT)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", openai_project.keys[0])
    (status,) = openai_project.told("status")
    assert (status["endpoint"], status["state"]) == ("base", "unresponsive")
    assert "that takes AZURE_SUBSCRIPTION_ID" in status["detail"]


def test_without_a_subscription_the_model_of_the_settings_counts(keyed: OpenAIProject) -> None:
    (keyed.folder / "phi3flow.toml").write_text(f'[azure]\nopenai_model = "{MODEL}"\n', encoding="utf-8")
    assert keyed.give("fine-tune", "--yes").returncode == 0


def test_with_neither_endpoint_nor_subscription_it_is_asked_which_resource(
    keyed: OpenAIProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
    done = keyed.fine_tune()
    assert done.returncode == 2
    assert "which Azure OpenAI resource? Set AZURE_OPENAI_ENDPOINT to its endpoint" in done.stderr
    assert keyed.told("status") == []


def test_the_endpoint_and_a_login_find_the_resource_that_no_setting_names(
    openai_project: OpenAIProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_account("another")
    (openai_project.folder / "phi3flow.toml").unlink()
    for endpoint in (ENDPOINT, f"https://{SUBDOMAIN.upper()}.cognitiveservices.azure.com"):
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
        openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    assert list(openai_project.deployments) == ["base"]


def test_a_login_takes_the_routes_of_a_foundry_project(
    openai_project: OpenAIProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = f"https://{SUBDOMAIN}.services.ai.azure.com/api/projects/support"
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", project)
    openai_project.tuned_model()
    openai_project.azure.resources.need(ACCOUNT)["properties"]["disableLocalAuth"] = True
    assert openai_project.told("deploy", "--name", "tuned", "--yes")["url"] == f"{project}/openai/v1"
    openai_project.must("undeploy", "tuned", "--cascade", "--yes")


def test_an_endpoint_of_another_resource_than_the_settings_is_refused(
    openai_project: OpenAIProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_account("another")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://another.openai.azure.com/")
    done = openai_project.give("deploy", "gpt-oss-20b", "--yes")
    assert done.returncode == 2
    assert f"is not that of the Azure OpenAI resource {SUBDOMAIN}" in done.stderr


def test_a_login_needs_no_key_where_the_resource_takes_none(openai_project: OpenAIProject) -> None:
    resource = openai_project.azure.resources.need(ACCOUNT)
    resource["properties"]["disableLocalAuth"] = True
    openai_project.tuned_model()
    openai_project.must("deploy", "--name", "tuned", "--yes")
    assert list(openai_project.deployments) == ["tuned"]
    assert not any(request.path.endswith("/listKeys") for request in openai_project.azure.requests)


def test_a_login_that_may_not_see_keys_deploys_all_the_same(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.denied.add("Microsoft.CognitiveServices/accounts/listKeys/action")
    openai_project.must("deploy", "gpt-oss-20b", "--name", "base", "--yes")
    assert list(openai_project.deployments) == ["base"]


def test_a_wrong_key_is_said_without_the_key(keyed: OpenAIProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "0123456789abcdef-wrong")
    done = keyed.fine_tune()
    assert done.returncode == 3
    assert "the key is wrong, or of another resource" in done.stderr
    assert "Put one of the resource's two keys into AZURE_OPENAI_API_KEY; either works" in done.stderr
    assert "0123456789abcdef-wrong" not in done.stderr + done.stdout


def test_an_expired_token_is_said(openai_project: OpenAIProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", ENDPOINT)
    openai_project.azure.world.expired_tokens = True
    done = openai_project.fine_tune()
    assert done.returncode == 3
    assert "the login is not taken, or has expired" in done.stderr
    assert "Log in anew: az login, or set AZURE_OPENAI_API_KEY" in done.stderr


def test_nobody_logged_in_and_no_key_is_said(openai_project: OpenAIProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", ENDPOINT)
    monkeypatch.setenv("AZURE_CLIENT_SECRET", "wrong")
    done = openai_project.fine_tune()
    assert done.returncode == 3
    assert "nobody is logged in (" in done.stderr
    assert "AZURE_OPENAI_API_KEY" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_role_is_named(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.denied.add("Microsoft.CognitiveServices/accounts/OpenAI/fine-tunes/write")
    done = openai_project.fine_tune()
    assert done.returncode == 3
    assert "lacks the required data action" in done.stderr
    assert "Cognitive Services OpenAI Contributor, or on a Foundry resource Foundry User" in done.stderr
    assert openai_project.jobs == []


def test_a_role_that_may_not_deploy_is_told_before(openai_project: OpenAIProject) -> None:
    openai_project.azure.world.roles = {GROUP: "Cognitive Services OpenAI User"}
    done = openai_project.give("deploy", "gpt-oss-20b", "--yes")
    assert done.returncode == 3
    assert "you may not do Microsoft.CognitiveServices/accounts/deployments/write" in done.stderr
    assert "az role assignment create" in done.stderr
    assert openai_project.azure.writes == []


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("http://phi3flow-openai.openai.azure.com/", "over http the key would travel in the clear"),
        ("phi3flow-openai", "it is a URL such as https://NAME.openai.azure.com"),
        ("https://me:secret@phi3flow-openai.openai.azure.com/", "leave the user and password out of the URL"),
    ],
)
def test_an_endpoint_that_is_none_is_refused(
    keyed: OpenAIProject, monkeypatch: pytest.MonkeyPatch, endpoint: str, says: str
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
    done = keyed.fine_tune()
    assert done.returncode == 2
    assert says in done.stderr
    assert "secret" not in done.stderr


@pytest.mark.parametrize("path", ["", "openai/v1/", "openai/deployments/x?api-version=2024-10-21"])
def test_an_endpoint_is_taken_with_or_without_routes(
    keyed: OpenAIProject, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", ENDPOINT + path)
    assert keyed.fine_tune().returncode == 0


def test_a_plain_endpoint_of_this_machine_is_taken(keyed: OpenAIProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", keyed.azure.openai_endpoint(SUBDOMAIN))
    assert keyed.fine_tune().returncode == 0


@pytest.mark.slow
def test_the_key_may_stand_in_env_and_is_in_no_other_file_message_or_argument(
    keyed: OpenAIProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_OPENAI_API_KEY")
    (keyed.folder / ".env").write_text(f"AZURE_OPENAI_API_KEY={keyed.keys[0]}\n", encoding="utf-8")
    seen: list[str] = []

    def look_at_arguments(request: Request) -> None:
        seen.extend(path.read_bytes().decode() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())

    keyed.azure.after_write = look_at_arguments
    command = ("fine-tune", *BACKEND, "--model", MODEL, "--yes", "--debug")
    program = [sys.executable, "-m", "phi3flow.cli.main", *command]
    done = subprocess.run(program, cwd=keyed.folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    key = keyed.keys[0]
    assert key not in done.stdout + done.stderr
    assert seen
    assert not [arguments for arguments in seen if key in arguments]
    written = [path for path in keyed.folder.rglob("*") if path.is_file() and path.name != ".env"]
    assert not [path for path in written if key.encode() in path.read_bytes()]
