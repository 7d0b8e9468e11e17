"""What the endpoint says, and logs, where the model itself fails."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import uvicorn
from jinja2 import TemplateError

from phi3flow.serving.endpoint import Endpoint
from phi3flow.serving.loading import LoadedModel, load_model
from tests.support.folders.tiny_phi3 import save_tiny_phi3
from tests.support.servers.serving import KEY, body_of


class FailingModel(LoadedModel):
    """A model that fails where the prompt says so."""

    def encode_chat(self, messages: list[dict[str, str]], *, complete: bool = False) -> list[int]:
        content = messages[-1]["content"]
        if "roles" in content:
            raise TemplateError("roles must alternate")
        if "bug" in content:
            raise RuntimeError(content)
        return [10**9] if "step" in content else super().encode_chat(messages, complete=complete)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = load_model(save_tiny_phi3(tmp_path_factory.mktemp("model")))
    failing = FailingModel(model.model, model.tokenizer, model.context_tokens, model.end_token_ids)
    endpoint = Endpoint(failing, name="failing", key=KEY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(endpoint, log_level="warning", access_log=False, lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)
        endpoint.close()


def _ask(url: str, question: str, **parameters: Any) -> requests.Response:
    body = body_of(question, max_new_tokens=3, **parameters)
    return requests.post(f"{url}/score", json=body, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)


def _logged_error(capfd: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    """The log's line that names an error, and the whole log: lines are written once their answers are sent."""
    log = ""
    while True:
        log += capfd.readouterr().err
        for line in map(json.loads, log[: log.rfind("\n") + 1].splitlines()):
            if "error" in line:
                return line, log
        time.sleep(0.01)


@pytest.mark.parametrize("question", ["a bug, and a secret", "a step that fails, and a secret"])
def test_an_unforeseen_error_is_500_and_the_log_has_its_place_but_not_its_words(
    url: str, question: str, capfd: pytest.CaptureFixture[str]
) -> None:
    reply = _ask(url, question)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    line, log = _logged_error(capfd)
    assert line["error"] in ("RuntimeError", "IndexError")
    assert any("endpoint.py" in place for place in line["traceback"])
    assert "secret" not in log + reply.text
    assert _ask(url, "Hi").status_code == 200


def test_a_template_that_refuses_is_422_in_its_words(url: str) -> None:
    reply = _ask(url, "wrong roles")
    assert reply.status_code == 422
    assert "the chat template refuses: roles must alternate" in reply.json()["error"]["message"]
