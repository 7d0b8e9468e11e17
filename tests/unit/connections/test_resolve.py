"""Where connections come from, in which order, and what is said where one cannot be had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.connections.files import dump_connection
from phi3flow.connections.resolve import read_variable, resolve_connection
from phi3flow.connections.types import CONNECTION_TYPES
from phi3flow.errors import BackendError, ConfigError
from phi3flow.records.yaml_text import parse_yaml
from tests.support.paths import ROOT

KEY = "key-of-the-test-0123456789"
CUSTOM = """\
name: phi3_endpoint
type: custom
configs:
  endpoint: ${env:TEST_ENDPOINT}
secrets:
  key: ${env:TEST_KEY}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty connections folder."""
    folder = tmp_path / "connections"
    folder.mkdir()
    return folder


def write(folder: Path, name: str, content: str) -> Path:
    """Write one connection file."""
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def test_values_come_from_the_environment_before_the_env_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "phi3_endpoint.yml", CUSTOM)
    write(folder.parent, ".env", f'TEST_ENDPOINT=https://from-file/score\nTEST_KEY="{KEY}"\n')
    assert resolve_connection("phi3_endpoint", folder=folder).configs == {"endpoint": "https://from-file/score"}
    monkeypatch.setenv("TEST_ENDPOINT", "https://user:word@host:8000/score")
    connection = resolve_connection("phi3_endpoint", folder=folder)
    assert connection.configs == {"endpoint": "https://user:word@host:8000/score"}
    assert connection.secrets["key"].get_secret_value() == KEY
    assert connection.host == "host:8000"
    assert "TEST_KEY" not in os.environ


def test_no_representation_shows_a_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ENDPOINT", "https://host/score")
    monkeypatch.setenv("TEST_KEY", KEY)
    write(folder, "phi3_endpoint.yml", CUSTOM)
    connection = resolve_connection("phi3_endpoint", folder=folder)
    assert KEY not in f"{connection} {connection!r} {connection.secrets}"


def test_a_custom_connection_in_promptflows_form(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ENDPOINT", "https://host/score")
    monkeypatch.setenv("TEST_KEY", f" {KEY}\n")
    write(folder, "phi3_endpoint.yml", CUSTOM)
    assert resolve_connection("phi3_endpoint", folder=folder).to_promptflow() == {
        "name": "phi3_endpoint",
        "type": "CustomConnection",
        "module": "promptflow.connections",
        "value": {"endpoint": "https://host/score", "key": KEY},
        "secret_keys": ["key"],
    }


@pytest.mark.parametrize(
    ("content", "type_", "value"),
    [
        ("type: open_ai\nbase_url: http://h/v1\napi_key: k\norganization:\n", "OpenAI", {"base_url": "http://h/v1"}),
        ("type: serverless\napi_base: http://h\napi_key: k\n", "Serverless", {"api_base": "http://h"}),
        (
            "type: azure_open_ai\napi_base: https://h\napi_version: 2024-06-01\napi_type: azure\napi_key: k\n",
            "AzureOpenAI",
            {"api_base": "https://h", "api_version": "2024-06-01", "api_type": "azure"},
        ),
        (
            "type: azure_content_safety\nendpoint: https://h\napi_key: k\n",
            "AzureContentSafety",
            {"endpoint": "https://h"},
        ),
    ],
)
def test_other_types_in_promptflows_form(folder: Path, content: str, type_: str, value: dict[str, str]) -> None:
    write(folder, "model.yaml", content)
    described = resolve_connection("model", folder=folder).to_promptflow()
    assert described["type"] == f"{type_}Connection"
    assert described["value"] == {**value, "api_key": "k"}
    assert described["secret_keys"] == ["api_key"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("type: custom\nconfigs: {endpoint: 'https://h'}\nsecrets: {key: '${env:NO_KEY}'}\n", "secrets.key: .* NO_KEY"),
        ("type: custom\nconfigs: {endpoint: <your endpoint>}\n", "configs.endpoint: is still a placeholder"),
        ("type: custom\nsecrets: {key: <user-input>}\n", "secrets.key: is still a placeholder"),
        ("type: custom\nsecrets: {key: ''}\n", "secrets.key: is still a placeholder"),
        ("type: custom\nconfigs: {endpoint: 'https://${env:HOST}/score'}\n", "configs.endpoint: .* the whole value"),
        (
            "type: custom\nendpoint: https://h\n",
            "endpoint: a custom connection has only name, type, configs and secrets",
        ),
        ("type: custom\nconfigs: [endpoint]\n", "configs: must map names to values"),
        ("type: custom\nconfigs: {endpoint: [a]}\n", "configs: endpoint must be one value"),
        ("type: custom\nconfigs: {endpoint: 'https://h', timeout: }\n", "configs: timeout has no value"),
        ("type: custom\nconfigs: {version: 1.10}\n", "configs: version must be a text, as for pf: put"),
        ("type: custom\nsecrets: {key: 00112233}\n", "secrets: key must be a text, as for pf: put"),
        ("type: custom\nconfigs: {on: true}\n", "configs: on must be a text, as for pf: put"),
        ("type: serp\napi_key: 0x10\n", "api_key must be a text, as for pf: put"),
        ("type: custom\nconfigs: {at: 2024-02-01T10:00:00Z}\n", "configs: at must be a text, as for pf: put"),
        ("configs: {endpoint: https://h}\n", "is not a connection: it has no type"),
        ("- a\n- b\n", "is not a connection"),
        ("type: custom\nsecrets: {key: 'never-shown\n", "broken.yml:.*: is not YAML"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(folder: Path, content: str, words: str) -> None:
    path = write(folder, "broken.yml", content)
    with pytest.raises(ConfigError, match=words) as caught:
        resolve_connection("broken", folder=folder)
    assert str(path) in str(caught.value)
    assert "never-shown" not in str(caught.value)


def test_a_file_that_is_not_utf_8_is_named(folder: Path) -> None:
    (folder / "broken.yml").write_bytes("name: Ä".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"broken\.yml: is not UTF-8"):
        resolve_connection("broken", folder=folder)


def test_two_files_of_one_name_are_refused(folder: Path) -> None:
    write(folder, "a.yml", "name: same\ntype: custom\n")
    write(folder, "b.yml", "name: same\ntype: custom\n")
    with pytest.raises(ConfigError, match=r"b\.yml: the connection 'same' is also in .*a\.yml"):
        resolve_connection("same", folder=folder)


OTHERS = {
    "README.md": b"# Connections",
    "settings.json": b"{",
    "notes.yaml": b"- buy milk\n",
    "deploy.yml": b"kind: Deployment\nname: phi3_endpoint_dev\n",
    "broken.yml": b"a: [b\n",
    "empty.yml": b"",
    "latin.yml": "name: Ä".encode("latin-1"),
    "typed.yml": b"type: custom\nendpoint: https://h\n",
    "tagged.yml": b"key: !Ref other\ntype: 3\n",
    "same_a.yml": b"name: same\ntype: custom\n",
    "same_b.yml": b"name: same\ntype: custom\n",
}


def test_other_files_do_not_stand_in_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_ENDPOINT", "https://host/score")
    monkeypatch.setenv("TEST_KEY", KEY)
    write(folder, "mine.yml", CUSTOM.replace("phi3_endpoint", "phi3"))
    for name, content in OTHERS.items():
        (folder / name).write_bytes(content)
    (folder / "folder.yml").mkdir()
    (folder / "phi3.yaml").write_bytes(b"[another tool's")
    assert resolve_connection("phi3", folder=folder).configs == {"endpoint": "https://host/score"}


def test_an_unknown_name_says_which_files_were_not_understood(folder: Path) -> None:
    write(folder, "broken.yml", "name: phi3\nsecrets: {key: never-shown\n")
    with pytest.raises(ConfigError, match=r"no connection 'phi3'.*broken\.yml:\d+: is not YAML") as caught:
        resolve_connection("phi3", folder=folder)
    assert "never-shown" not in str(caught.value)


def test_an_unknown_name_lists_the_names_there_are_and_the_way_out(folder: Path) -> None:
    write(folder, "phi3_endpoint.yml", CUSTOM)
    with pytest.raises(ConfigError, match="no connection 'phi3_endpiont'") as caught:
        resolve_connection("phi3_endpiont", folder=folder)
    assert "it has phi3_endpoint)" in str(caught.value)
    assert "phi3flow connect phi3_endpiont --endpoint URL --key-env VARIABLE" in str(caught.value)


def test_a_variable_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE is not set"):
        read_variable("NO_SUCH_VARIABLE", folder=tmp_path / "connections")


@given(name=st.from_regex(r"[a-z_][a-z0-9_]{0,20}", fullmatch=True), path=st.text(max_size=30))
def test_a_dumped_connection_reads_back(name: str, path: str) -> None:
    endpoint = f"https://host/{path}"
    content = parse_yaml(
        dump_connection(
            name,
            CONNECTION_TYPES["custom"],
            configs={"endpoint": endpoint, "protocol": "openai"},
            key_variable="PHI3_KEY",
        ).decode()
    )
    assert content["name"] == name
    assert content["configs"] == {"endpoint": endpoint, "protocol": "openai"}
    assert content["secrets"] == {"key": "${env:PHI3_KEY}"}


@pytest.mark.parametrize("path", sorted((ROOT / "connections").glob("*.yml")), ids=lambda path: path.stem)
def test_the_repositorys_connections_hold_references_only(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    references = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.strip().partition(": ")
        if value.startswith("${env:"):
            references[key] = value
            monkeypatch.setenv(value[len("${env:") : -1], f"https://{key}.test")
    connection = resolve_connection(path.stem, folder=ROOT / "connections")
    assert set(connection.secrets) <= set(references)
    assert connection.host == next(f"{key}.test" for key in ("endpoint", "base_url", "api_base") if key in references)
    assert parse_yaml(path.read_text(encoding="utf-8"))["$schema"].endswith(f"/{connection.type}.schema.json")


def test_an_azure_workspace_that_cannot_be_asked_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"):
        monkeypatch.delenv(variable, raising=False)
    triad = {"subscription_id": "0000", "resource_group": "group", "workspace_name": "work"}
    write(folder.parent, "config.json", json.dumps(triad))
    with pytest.raises(BackendError, match="the Azure workspace work cannot be asked for it") as caught:
        resolve_connection("phi3_endpoint", folder=folder)
    assert "az login" in str(caught.value)


def test_a_config_json_that_is_of_something_else_is_passed_over(folder: Path) -> None:
    write(folder.parent, "config.json", '{"port": 8080}')
    with pytest.raises(ConfigError, match="there is no connection"):
        resolve_connection("phi3_endpoint", folder=folder)


STORE = """
import sys
from pathlib import Path
from pydantic import SecretStr
from phi3flow.connections.connection import Connection
from phi3flow.connections.promptflow_store import is_in_promptflow, store_in_promptflow
from phi3flow.connections.resolve import resolve_connection
from phi3flow.errors import ConfigError

folder = Path("connections")
stored = Connection("stored", "CustomConnection", {"endpoint": "https://host/score"}, {"key": SecretStr(sys.argv[1])})
assert not is_in_promptflow("stored")
store_in_promptflow(stored)
assert is_in_promptflow("stored")
assert resolve_connection("stored", folder=folder) == stored
folder.mkdir()
(folder / "stored.yml").write_text("type: custom\\nconfigs: {endpoint: https://file/score}\\nsecrets: {key: other}\\n")
assert resolve_connection("stored", folder=folder).host == "file", "files come first"
"""

NO_KEYRING = """
import sys
from pathlib import Path
from pydantic import SecretStr
from phi3flow.connections.connection import Connection
from phi3flow.connections.promptflow_store import store_in_promptflow
from phi3flow.connections.resolve import resolve_connection
from phi3flow.errors import ConfigError

folder = Path("nowhere")
for attempt in (
    lambda: resolve_connection("stored", folder=folder),
    lambda: store_in_promptflow(Connection("new", "CustomConnection", {}, {"key": SecretStr("k")})),
    lambda: resolve_connection("absent", folder=folder),
):
    try:
        attempt()
        print("no error")
    except ConfigError as error:
        print(error)
"""


def test_promptflows_store_is_used_and_a_missing_keyring_is_said(tmp_path: Path) -> None:
    def python(program: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", program, KEY],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python(STORE) == ""
    printed = python(NO_KEYRING, PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring")
    unreadable, not_stored, absent = printed.splitlines()
    assert "the connection stored cannot be read from promptflow's local store" in unreadable
    assert "--to file, which needs none" in not_stored
    assert "there is no connection 'absent'" in absent
    assert KEY not in printed
