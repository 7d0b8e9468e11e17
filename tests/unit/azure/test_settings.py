"""phi3flow.toml: what is derived, what wins, and what is refused with file, key and value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.azure.settings import _VARIABLES, AzureSettings, load_settings
from phi3flow.cli.azure import EXAMPLE
from phi3flow.errors import ConfigError

SUBSCRIPTION = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(autouse=True)
def _no_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in _VARIABLES.values():
        monkeypatch.delenv(variable, raising=False)


def write(folder: Path, text: str) -> Path:
    (folder / "phi3flow.toml").write_text(text, encoding="utf-8")
    return folder


def test_only_the_subscription_is_needed(tmp_path: Path) -> None:
    settings = load_settings(write(tmp_path, f'[azure]\nsubscription_id = "{SUBSCRIPTION}"\n'))
    assert (settings.workspace, settings.hub, settings.project) == ("phi3flow", "phi3flow-hub", "phi3flow-project")
    assert settings.location == "eastus2"
    assert settings.fine_tune_size == settings.deployment_size == "Standard_NC24ads_A100_v4"
    assert settings.model == "Phi-4-mini-instruct"
    assert settings.openai_account is None


def test_the_example_in_the_help_is_a_whole_file_of_the_defaults(tmp_path: Path) -> None:
    example = load_settings(write(tmp_path, EXAMPLE))
    plain = load_settings(write(tmp_path, f'[azure]\nsubscription_id = "{example.subscription_id}"\n'))
    assert example.model_dump(exclude={"endpoint"}) == plain.model_dump(exclude={"endpoint"})
    named = set(re.findall(r"^# ?(\w+) =|^(\w+) =|(\w+)(?=[,:])", EXAMPLE, re.MULTILINE))
    assert set(AzureSettings.model_fields) <= {name for names in named for name in names}


def test_the_example_names_the_variable_of_each_setting() -> None:
    for key, variable in _VARIABLES.items():
        assert re.search(rf"^(?:# )?{key} = .*\[{variable}\]", EXAMPLE, re.MULTILINE), key


def test_the_environment_wins_and_dotenv_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, f'[azure]\nsubscription_id = "{SUBSCRIPTION}"\nworkspace = "file"\nhub = "file-hub"\n')
    (tmp_path / ".env").write_text("AZUREML_WORKSPACE_NAME=dotenv\nAZUREAI_HUB_NAME=dotenv-hub\n", encoding="utf-8")
    monkeypatch.setenv("AZUREML_WORKSPACE_NAME", "environment")
    monkeypatch.setenv("AZUREML_MAX_NODES", "4")
    settings = load_settings(tmp_path)
    assert (settings.workspace, settings.hub, settings.max_nodes) == ("environment", "dotenv-hub", 4)
    assert settings.identity == "environment-identity"


def test_a_region_may_be_written_as_the_portal_shows_it(tmp_path: Path) -> None:
    text = f'[azure]\nsubscription_id = "{SUBSCRIPTION}"\nlocation = "East US 2"\n'
    assert load_settings(write(tmp_path, text)).location == "eastus2"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('workspce = "x"', "azure.workspce: is unknown; there are subscription_id, resource_group"),
        ('workspace = "a b"', "azure.workspace: 'a b' does not do: 3 to 33 letters, digits, '-' and '_'"),
        ('compute = "gpu-1"', "azure.compute: 'gpu-1' does not do: 3 to 24 letters"),
        ('endpoint = "1st"', "azure.endpoint: '1st' does not do: 3 to 32 letters"),
        ('storage_account = "Upper"', "azure.storage_account: 'Upper' does not do: 3 to 24 small letters"),
        ('key_vault = "a--b"', "azure.key_vault: 'a--b' does not do: 3 to 24 letters"),
        ("max_nodes = 0", "azure.max_nodes: '0' does not do: Input should be greater than or equal to 1"),
        ('fine_tune_size = "A100"', "azure.fine_tune_size: 'A100' does not do: a VM size, such as"),
        ("workspace = 7", "azure.workspace: '7' does not do: Input should be a valid string"),
        ("instances = [", "phi3flow.toml: is not TOML"),
        ("[openai]", "phi3flow.toml: openai: is unknown; the settings stand in the table [azure]"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(tmp_path, f'[azure]\nsubscription_id = "{SUBSCRIPTION}"\n{line}\n'))
    assert message in str(caught.value)
    assert "phi3flow.toml" in str(caught.value)


def test_without_a_subscription_the_ways_to_set_it_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"azure.subscription_id is missing.*AZURE_SUBSCRIPTION_ID.*azure plan --help"
    ):
        load_settings(tmp_path)


def test_a_wrong_variable_is_named_not_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "mine")
    with pytest.raises(
        ConfigError, match=r"the environment variable AZURE_SUBSCRIPTION_ID: 'mine' does not do: a GUID"
    ):
        load_settings(tmp_path)


@given(
    workspace=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{2,32}", fullmatch=True),
    group=st.from_regex(r"[A-Za-z0-9_.()-]{0,80}[A-Za-z0-9_()-]", fullmatch=True),
)
def test_names_derived_from_any_workspace_are_names(workspace: str, group: str) -> None:
    given_ = {"subscription_id": SUBSCRIPTION, "workspace": workspace, "resource_group": group}
    settings = AzureSettings.model_validate(given_)
    assert settings == AzureSettings.model_validate(given_)
    assert AzureSettings.model_validate(settings.model_dump()) == settings


@given(st.lists(st.from_regex(r"[a-z][a-z0-9]{2,8}", fullmatch=True), min_size=2, max_size=2, unique=True))
def test_two_workspaces_share_no_name_that_is_unique_in_the_world(workspaces: list[str]) -> None:
    one, other = (
        AzureSettings.model_validate({"subscription_id": SUBSCRIPTION, "workspace": name}) for name in workspaces
    )
    for field in ("storage_account", "key_vault", "container_registry", "endpoint"):
        assert getattr(one, field) != getattr(other, field)
