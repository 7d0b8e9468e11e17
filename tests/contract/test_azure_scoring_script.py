"""The scoring script for Azure ML under the server that runs it there, beside ``phi3flow serve`` of the same model."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given, settings

from phi3flow.serving import protocol
from tests.contract.test_wire_contract import SCORE
from tests.support.flows.chat_flow import load_client
from tests.support.folders.tiny_phi3 import CONTEXT_TOKENS, save_tiny_phi3
from tests.support.servers.scoring_server import ScoringServer, load_script
from tests.support.servers.serving import KEY, ServerProcess, body_of

TEMPLATE_THAT_FAILS = (
    "{% if 'a bug' in messages[-1]['content'] %}{{ 1 // 0 }}{% endif %}"
    "{% if 'wrong roles' in messages[-1]['content'] %}{{ raise_exception('roles must alternate') }}{% endif %}"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_tiny_phi3(tmp_path_factory.mktemp("scoring") / "tiny")
    template = folder / "chat_template.jinja"
    template.write_text(TEMPLATE_THAT_FAILS + template.read_text())
    return folder


@pytest.fixture(scope="module")
def servers(model: Path) -> Iterator[tuple[ScoringServer, ServerProcess]]:
    ours = ServerProcess(model, model.parent / "local.log")
    with ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        azure, local = (pool.submit(stack.enter_context, each) for each in (ScoringServer(model, model.parent), ours))
        yield azure.result(), local.result()


@pytest.fixture
def azure(servers: tuple[ScoringServer, ServerProcess]) -> ScoringServer:
    return servers[0]


@pytest.fixture
def local(servers: tuple[ScoringServer, ServerProcess]) -> ServerProcess:
    return servers[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return load_script()


def _with(**changes: Any) -> dict[str, Any]:
    return {"input_data": body_of("Hi", max_new_tokens=4)["input_data"] | changes}


def _parameters(**parameters: Any) -> dict[str, Any]:
    return _with(parameters={"max_new_tokens": 12} | parameters)


TURNS = [
    {"role": "system", "content": "Answer in one short sentence."},
    {"role": "user", "content": "Who founded Microsoft?"},
    {"role": "assistant", "content": ""},
    {"role": "user", "content": "北京在哪里?"},
]
SCORED = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Bill Gates and Paul Allen."}]
ANSWERED = {
    "the contract's example": body_of("Who founded Microsoft?", max_new_tokens=16),
    "turns": _with(input_string=TURNS),
    "nested messages": _with(input_string=[TURNS]),
    "no parameters": {"input_data": {"input_string": TURNS}},
    "null is absent": _parameters(temperature=None, top_p=None, stop=None, seed=None),
    "do_sample false": _parameters(temperature=2, do_sample=False),
    "more tokens than there is room for": _parameters(max_new_tokens=10**30),
    "a stop string": _parameters(max_new_tokens=24, stop=["e", "a"]),
    "one stop string": _parameters(max_new_tokens=24, stop="o"),
    "a temperature of nearly 0": _parameters(temperature=1e-300),
    "keys that nobody follows": _parameters(details=True, top_k=-1) | {"params": {}, "trace é\n": "a secret"},
}


@pytest.mark.parametrize("body", ANSWERED.values(), ids=ANSWERED)
def test_a_request_gets_the_local_servers_answer(azure: ScoringServer, local: ServerProcess, body: Any) -> None:
    reply = azure.post(body)
    assert reply.status_code == 200
    assert reply.headers["Content-Type"] == "application/json"
    expected = local.post("/score", body)
    assert reply.json() == expected.json()
    assert reply.headers.get("x-ignored-keys") == expected.headers.get("x-ignored-keys")


def test_what_is_ignored_is_named_and_its_value_is_not(azure: ScoringServer) -> None:
    reply = azure.post(ANSWERED["keys that nobody follows"])
    names = {"params", "trace???", "input_data.parameters.details", "input_data.parameters.top_k"}
    assert set(reply.headers["x-ignored-keys"].split(", ")) == names
    assert "x-ignored-keys" not in azure.post(ANSWERED["turns"]).headers
    chat = azure.post({"messages": TURNS, "temperature": 0, "max_tokens": 4, "n": 1, "details": "a secret"})
    assert chat.headers["x-ignored-keys"] == "n, details"


def test_a_given_answer_is_as_likely_as_for_the_local_server(azure: ScoringServer, local: ServerProcess) -> None:
    body = _with(input_string=SCORED, parameters={"score_last": True})
    expected = local.post("/score", body).json()
    assert azure.post(body).json() == expected | {"log_likelihood": pytest.approx(expected["log_likelihood"], rel=1e-5)}


def test_sampling_follows_the_seed_and_is_at_random_without(azure: ScoringServer) -> None:
    def ask(**parameters: Any) -> str:
        return str(azure.post(_parameters(temperature=1.5, top_p=0.95, **parameters)).json()["output"])

    assert ask(seed=1) == ask(seed=1) != ask(seed=2)
    assert ask(seed=-(10**30)) == ask(seed=-(10**30))
    assert ask(seed=1) != ask() != ask()


REFUSED: list[tuple[Any, int, str]] = [
    (b"{", 400, "not JSON"),
    (b"", 400, "not JSON"),
    (b"\xff\xfe", 400, "not JSON"),
    (b"[" * 100_000, 400, "not JSON"),
    (rb'{"input_data": {"input_string": [{"role": "user", "content": "\ud800"}]}}', 400, "not JSON"),
    ([], 422, "the body"),
    ({}, 422, "input_data: Field required"),
    (_with(input_string=[]), 422, "input_data.input_string"),
    (_with(input_string="Hi"), 422, "input_data.input_string"),
    (_with(input_string=[[]]), 422, "input_data.input_string"),
    (_with(input_string=[[], []]), 422, "2 conversations"),
    (_with(input_string=[{"role": "robot", "content": "Hi"}]), 422, 'it is "robot"'),
    (_with(input_string=[{"role": "user", "content": " "}]), 422, "the user message is empty"),
    (_with(input_string=[{"role": "user", "content": 5}]), 422, "content"),
    (_with(input_string=[{"role": "user"}]), 422, "content"),
    (_with(input_string=[{"role": "user", "content": "wrong roles"}]), 422, "refuses: roles must alternate"),
    (_with(input_string=[{"role": "user", "content": "%" * 2 * CONTEXT_TOKENS}]), 422, f"reads {CONTEXT_TOKENS}"),
    (_parameters(temprature=0.1), 422, "known are temperature"),
    (_parameters(temperature=-1), 422, "temperature"),
    (_parameters(temperature=2.1), 422, "temperature"),
    (_parameters(temperature="0.7"), 422, "temperature"),
    (_parameters(temperature=float("nan")), 422, "temperature"),
    (_parameters(temperature=float("inf")), 422, "temperature"),
    (_parameters(temperature=True), 422, "temperature"),
    (_parameters(top_p=0), 422, "top_p"),
    (_parameters(max_new_tokens=0), 422, "max_new_tokens"),
    (_parameters(max_new_tokens=-(10**30)), 422, "max_new_tokens"),
    (_parameters(max_new_tokens=8.0), 422, "max_new_tokens"),
    (_parameters(stop=[""]), 422, "stop"),
    (_parameters(stop=["x"] * 17), 422, "stop"),
    (_parameters(seed="1"), 422, "seed"),
    (_parameters(score_last=True), 422, "score_last"),
    (_with(parameters={}, params={"temperature": 0.5}), 422, "params: not known here"),
    (_parameters(top_k=50), 422, "top_k: not known here"),
    (_parameters(maxtokens=50), 422, "maxtokens: not known here, perhaps max_new_tokens is meant"),
    (_with() | {"messages": []}, 422, "messages: not known here"),
    (_with(input_string=[{"role": "user", "content": "x" * (2 << 20)}]), 413, "larger than 1048576 bytes"),
]


def _verdict(reply: requests.Response) -> tuple[int, str, str | None]:
    error = reply.json()["error"]
    return reply.status_code, error["code"], error["param"]


@pytest.mark.parametrize(("body", "status", "words"), REFUSED)
def test_a_bad_body_is_refused_as_by_the_local_server(
    azure: ScoringServer, local: ServerProcess, body: Any, status: int, words: str
) -> None:
    reply = azure.post(body)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]
    assert _verdict(reply) == _verdict(local.post("/score", body))


@settings(max_examples=300)
@given(body=SCORE.filter(lambda body: not isinstance(body, dict) or "messages" not in body))
def test_any_json_gets_the_verdict_of_the_local_server(script: ModuleType, body: Any) -> None:
    sent = json.dumps(body).encode()
    ours = theirs = None
    try:
        script.parse(sent)
    except script.RequestError as error:
        ours = (error.status, error.body)
    try:
        protocol.parse_score(sent)
    except protocol.RequestError as error:
        theirs = (error.status, protocol.error_body(error))
    assert json.dumps(ours) == json.dumps(theirs)


def test_mlflows_chat_gets_a_chat_completion(azure: ScoringServer) -> None:
    from mlflow.types.llm import ChatCompletionRequest, ChatCompletionResponse, ChatMessage

    messages = [ChatMessage.from_dict(each) for each in TURNS]
    asked = ChatCompletionRequest(messages=messages, temperature=0.0, max_tokens=12, stop=None, n=1, stream=False)
    reply = azure.post(asked.to_dict())
    assert reply.status_code == 200, reply.text
    answer = ChatCompletionResponse.from_dict(reply.json())
    assert answer.object == "chat.completion"
    [choice] = answer.choices
    expected = azure.post(_with(input_string=TURNS, parameters={"max_new_tokens": 12})).json()["output"]
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", expected)
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 12


def test_a_chat_that_ends_by_a_stop_string_says_so(azure: ScoringServer) -> None:
    body = {"messages": [[{"role": "user", "content": "Hi"}]], "temperature": 0, "stop": ["e", "a"], "model": "mine"}
    answer = azure.post(body).json()
    expected = azure.post(_with(parameters={"stop": ["e", "a"]})).json()["output"]
    assert answer["choices"][0]["message"]["content"] == expected
    assert (answer["model"], answer["choices"][0]["finish_reason"]) == ("mine", "stop")


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({"messages": []}, 422, "messages"),
        ({"messages": [{"role": "robot", "content": "Hi"}]}, 422, "messages[0].role"),
        ({"messages": [{"role": "user", "content": "%" * 2 * CONTEXT_TOKENS}]}, 422, f"reads {CONTEXT_TOKENS}"),
        ({"max_tokens": 0}, 422, "max_tokens"),
        ({"temperature": "hot"}, 422, "temperature"),
        ({"n": 2}, 422, "n: not known here; known are messages, model, temperature, top_p, max_tokens, stop, seed"),
        ({"stream": True}, 422, "stream"),
        ({"frequency_penalty": 0.5}, 422, "frequency_penalty"),
        ({"score_last": True}, 422, "score_last"),
    ],
)
def test_a_bad_chat_is_refused_with_its_reason(azure: ScoringServer, changes: Any, status: int, words: str) -> None:
    reply = azure.post({"messages": TURNS, "max_tokens": 4} | changes)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]


def test_a_body_is_counted_where_content_length_is_absent_or_wrong(azure: ScoringServer) -> None:
    reply = requests.post(f"{azure.base_url}/score", data=(b"x" * 65_536 for _ in range(64)), timeout=30)
    assert reply.request.headers["Transfer-Encoding"] == "chunked"
    assert reply.status_code == 413
    connection = http.client.HTTPConnection(urlsplit(azure.base_url).netloc, timeout=10)
    connection.putrequest("POST", "/score")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_the_probe_is_answered_and_other_methods_are_refused(azure: ScoringServer) -> None:
    assert requests.get(f"{azure.base_url}/", timeout=10).status_code == 200
    for method in ("GET", "OPTIONS"):
        reply = requests.request(method, f"{azure.base_url}/score", timeout=10)
        assert (reply.status_code, reply.headers["Allow"]) == (405, "POST")
        assert reply.json()["error"]["code"] == "method_not_allowed"


def test_a_failing_model_is_500_and_the_log_has_its_place_but_no_words_of_requests(azure: ScoringServer) -> None:
    reply = azure.post(body_of("a bug, and a secret"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    assert azure.post(body_of("a secret", max_new_tokens=2)).status_code == 200
    assert azure.post(_with(input_string=[{"role": "a secret", "content": "a secret"}])).status_code == 422
    assert "ZeroDivisionError at score.py:" in azure.log()
    assert "Traceback" not in reply.text + azure.log()
    assert "secret" not in reply.text + azure.log()


def test_no_memory_is_503(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from flask import Request
    from werkzeug.test import EnvironBuilder

    def answer(_: Any) -> None:
        raise torch.OutOfMemoryError("tried to allocate")

    monkeypatch.setattr(script, "_model", SimpleNamespace(answer=answer))
    response = script.run(Request(EnvironBuilder(method="POST", json=body_of("Hi")).get_environ()))
    assert (response.status_code, response.json["error"]["code"]) == (503, "out_of_memory")


def test_eight_requests_at_once_get_their_own_answers(azure: ScoringServer) -> None:
    bodies = [body_of(f"Question {number}?", max_new_tokens=40) for number in range(8)]
    alone = [azure.post(body).json() for body in bodies]
    with ThreadPoolExecutor(8) as pool:
        assert [reply.json() for reply in pool.map(azure.post, bodies)] == alone
    assert len({answer["output"] for answer in alone}) > 1


def test_the_probe_does_not_wait_for_the_model(azure: ScoringServer) -> None:
    with ThreadPoolExecutor(3) as pool:
        replies = [pool.submit(azure.post, body_of("Hi", max_new_tokens=240)) for _ in range(3)]
        time.sleep(0.05)
        assert requests.get(azure.base_url, timeout=10).ok
        assert not all(reply.done() for reply in replies)


def test_the_chat_flows_client_gets_the_answer(azure: ScoringServer) -> None:
    client, _ = load_client()
    connection = SimpleNamespace(configs={"endpoint": f"{azure.base_url}/score"}, secrets={"key": KEY})
    answer = asyncio.run(client.complete(connection, TURNS, temperature=0.0, max_new_tokens=12))
    assert answer == azure.post(_with(input_string=TURNS, parameters={"max_new_tokens": 12})).json()["output"]
    with pytest.raises(client.EndpointError, match="HTTP 422.*known are temperature"):
        asyncio.run(client.complete(connection, TURNS, temprature=0.0))


def test_the_server_connects_nowhere(azure: ScoringServer) -> None:
    azure.post(body_of("Hi", max_new_tokens=2))
    assert "OUTGOING" not in azure.log()
