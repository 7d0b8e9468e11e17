"""connect writes connections that flows find, never a key, and replaces nothing unasked."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from phi3flow.cli.main import main
from phi3flow.connections.resolve import resolve_connection
from phi3flow.project.state import EndpointState, ProjectState, update

KEY = "key-of-the-test-0123456789"
URL = "http://127.0.0.1:8000/score"
FILE = Path("connections/phi3_endpoint.yml")

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project with the key in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHI3_KEY", KEY)
    return tmp_path


def deployed(*endpoints: tuple[str, str]) -> None:
    """Record deployments, as `deploy` does."""
    states = [
        EndpointState(
            backend="local", endpoint=name, deployment=name, url=url, model="model", created_at=datetime.now(UTC)
        )
        for name, url in endpoints
    ]
    update(lambda _: ProjectState(endpoints=states))


def test_a_written_connection_resolves_and_holds_no_key(capsys: Capture) -> None:
    assert main(["connect", "phi3_endpoint", "--endpoint", URL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "connection": "phi3_endpoint",
        "type": "custom",
        "to": "file",
        "path": str(FILE),
        "endpoint": URL,
        "key_env": "PHI3_KEY",
    }
    assert KEY not in FILE.read_text(encoding="utf-8")
    assert resolve_connection("phi3_endpoint").to_promptflow()["value"] == {"endpoint": URL, "key": KEY}


def test_key_variable_and_protocol_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_KEY", "other")
    command = ["connect", "vllm", "--endpoint", "http://h/v1", "--protocol", "openai", "--key-env", "VLLM_KEY"]
    assert main(command) == 0
    value = resolve_connection("vllm").to_promptflow()["value"]
    assert value == {"endpoint": "http://h/v1", "protocol": "openai", "key": "other"}


def test_the_same_command_again_changes_nothing(capsys: Capture) -> None:
    assert main(["connect", "phi3_endpoint", "--endpoint", URL]) == 0
    before = FILE.stat()
    assert main(["connect", "phi3_endpoint", "--endpoint", URL]) == 0
    assert (FILE.stat().st_ino, FILE.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "is up to date" in capsys.readouterr().out


def test_a_file_that_differs_is_replaced_with_yes_only(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    FILE.parent.mkdir()
    FILE.write_text("# by hand\ntype: custom\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", open("/dev/null", encoding="utf-8"))  # noqa: SIM115, PTH123
    assert main(["connect", "phi3_endpoint", "--endpoint", URL]) == 2
    assert "holds another connection" in capsys.readouterr().err
    assert FILE.read_text(encoding="utf-8").startswith("# by hand")
    assert main(["connect", "phi3_endpoint", "--endpoint", URL, "--yes"]) == 0
    assert resolve_connection("phi3_endpoint").configs == {"endpoint": URL}


def test_from_deployment_takes_the_last_endpoint_or_the_named_one() -> None:
    deployed(("base", "http://127.0.0.1:1/score"), ("tuned", "http://127.0.0.1:2/score"))
    assert main(["connect", "phi3_endpoint", "--from-deployment"]) == 0
    assert resolve_connection("phi3_endpoint").configs["endpoint"] == "http://127.0.0.1:2/score"
    assert main(["connect", "phi3_base", "--from-deployment", "base"]) == 0
    assert resolve_connection("phi3_base").configs["endpoint"] == "http://127.0.0.1:1/score"
    assert main(["connect", "phi3_chat", "--from-deployment", "base", "--protocol", "openai"]) == 0
    assert resolve_connection("phi3_chat").configs["endpoint"] == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["x", "--from-deployment"], "nothing is deployed from here: phi3flow deploy"),
        (["x", "--endpoint", "127.0.0.1:8000/score"], "must be an http(s) URL"),
        (["x", "--endpoint", "https://user:word@host/score"], "leave the user and password out"),
        (["x", "--endpoint", "https://host/score?code=SECRET&x="], "its query (code, x) may hold a key"),
        (["x", "--endpoint", "https://host/score?SECRET"], "its query (…) may hold a key"),
        (["../x", "--endpoint", URL], "a connection's name has letters"),
        (["x", "--endpoint", URL, "--key-env", "sk-1234"], "the name of an environment variable"),
        (["x", "--endpoint", URL, "--to", "foundry"], "azure.subscription_id is missing"),
        (["x", "--endpoint", URL, "--to", "pf", "--key-env", "NO_KEY"], "NO_KEY is not set"),
        (["x"], "one of the arguments --endpoint --from-deployment is required"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(arguments: list[str], words: str, capsys: Capture) -> None:
    assert main(["connect", *arguments]) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "word" not in shown.replace(words, "")
    assert "SECRET" not in shown
    assert not Path("connections").exists()


def test_an_unknown_endpoint_lists_those_there_are(capsys: Capture) -> None:
    deployed(("base", "http://127.0.0.1:1/score"), ("tuned", "http://127.0.0.1:2/score"))
    assert main(["connect", "x", "--from-deployment", "tuend"]) == 2
    assert "--from-deployment tuend: there is no such endpoint; there are base, tuned" in capsys.readouterr().err


def test_to_pf_stores_an_encrypted_connection_and_asks_before_it_replaces_one(project: Path) -> None:
    other = "http://127.0.0.1:9/score"
    program = f"""
from phi3flow.cli.main import main
command = ["connect", "phi3_endpoint", "--to", "pf", "--endpoint"]
once = main([*command, "{URL}", "--quiet"])
print([once, main([*command, "{URL}"]), main([*command, "{other}"]), main([*command, "{other}", "--yes"])])
"""
    command = [sys.executable, "-c", program]  # promptflow fixes its HOME when it is imported
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[0, 0, 2, 0]", done.stderr
    assert "phi3_endpoint is up to date" in done.stdout
    assert "has another connection phi3_endpoint. Replace it?" in done.stderr
    store = (Path.home() / ".promptflow" / "pf.sqlite").read_bytes()
    assert other.encode() in store
    assert KEY.encode() not in store
    assert not (project / "connections").exists()


def test_to_file_imports_nothing_of_promptflow(project: Path) -> None:
    program = (
        "import sys; from phi3flow.cli.main import main; "
        f"main(['connect', 'x', '--endpoint', '{URL}']); sys.exit('promptflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True).returncode == 0
