"""The endpoint's contract (docs: /score and /v1), against a real server process."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.folders.batch_project import wait_until
from tests.support.folders.tiny_phi3 import CONTEXT_TOKENS, save_tiny_phi3
from tests.support.servers.serving import KEY, ServerProcess, body_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("serving")
    with ServerProcess(save_tiny_phi3(folder / "tiny"), folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.base_url}/v1", api_key=KEY, max_retries=0)


def test_a_question_is_answered(server: ServerProcess) -> None:
    reply = server.score("Who founded Microsoft?", max_new_tokens=8)
    assert reply.status_code == 200
    assert list(reply.json()) == ["output"]
    assert isinstance(reply.json()["output"], str)


def test_messages_may_be_nested_once_more(server: ServerProcess) -> None:
    body = body_of("Who founded Microsoft?", max_new_tokens=8)
    nested = {"input_data": body["input_data"] | {"input_string": [body["input_data"]["input_string"]]}}
    assert server.post("/score", nested).json() == server.post("/score", body).json()


def test_parameters_may_be_absent(server: ServerProcess) -> None:
    body = body_of("Hi")
    del body["input_data"]["parameters"]
    assert server.post("/score", body).status_code == 200


def test_the_same_seed_gives_the_same_answer(server: ServerProcess) -> None:
    def ask(seed: int) -> str:
        return str(server.score("Hi", temperature=1.5, seed=seed, max_new_tokens=16).json()["output"])

    assert ask(1) == ask(1) != ask(2)


def test_do_sample_false_is_greedy(server: ServerProcess) -> None:
    greedy = server.score("Hi", max_new_tokens=16).json()
    assert server.score("Hi", temperature=2.0, do_sample=False, max_new_tokens=16).json() == greedy


def test_a_stop_string_ends_the_answer_and_is_left_out(server: ServerProcess) -> None:
    whole = server.score("Hi", max_new_tokens=24).json()["output"]
    stop = whole[8:11]
    assert server.score("Hi", max_new_tokens=24, stop=stop).json()["output"] == whole[: whole.index(stop)]


def test_an_answer_ends_with_the_context(server: ServerProcess, client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="tiny", messages=[{"role": "user", "content": "x" * 180}], max_tokens=10_000, temperature=0
    )
    assert completion.usage is not None
    assert completion.usage.total_tokens <= CONTEXT_TOKENS
    assert completion.choices[0].finish_reason in ("stop", "length")


def test_a_prompt_beyond_the_context_is_refused_with_both_figures(server: ServerProcess) -> None:
    reply = server.score("%" * 2 * CONTEXT_TOKENS)
    message = reply.json()["error"]["message"]
    assert reply.status_code == 422
    assert re.search(r"the prompt has 5\d\d tokens", message)
    assert f"reads {CONTEXT_TOKENS}" in message


@pytest.mark.parametrize("key", [None, "Bearer wrong", "Bearer", KEY, f"Basic {KEY}", "Bearer schlüssel"])
def test_a_wrong_key_is_refused(server: ServerProcess, key: str | None) -> None:
    headers = {"Authorization": key.encode("latin-1")} if key else {}
    for path in ("/score", "/v1/chat/completions"):
        reply = requests.post(server.base_url + path, json=body_of("Hi"), headers=headers, timeout=10)
        assert reply.status_code == 401
        assert "key" in reply.json()["error"]["message"]


def test_the_api_key_header_opens_only_the_openai_path(server: ServerProcess) -> None:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2}
    headers = {"api-key": KEY}
    assert requests.post(f"{server.base_url}/chat/completions", json=body, headers=headers, timeout=10).ok
    assert requests.post(f"{server.base_url}/score", json=body_of("Hi"), headers=headers, timeout=10).status_code == 401


def test_a_deployment_is_asked_for_by_its_name(server: ServerProcess) -> None:
    right, wrong = ({"azureml-model-deployment": name} for name in ("tiny", "blue"))
    assert server.score("Hi", headers=right, max_new_tokens=2).status_code == 200
    reply = server.score("Hi", headers=wrong)
    assert reply.status_code == 404
    assert "'blue'" in reply.json()["error"]["message"]


def _with(changes: dict[str, Any]) -> dict[str, Any]:
    return {"input_data": body_of("Hi")["input_data"] | changes}


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{", 400, "not JSON"),
        (b"", 400, "not JSON"),
        (b"\xff\xfe", 400, "not JSON"),
        (b"[" * 100_000, 400, "not JSON"),
        (rb'{"input_data": {"input_string": [{"role": "user", "content": "\ud800"}]}}', 400, "not JSON"),
        ([], 422, "the body"),
        ({}, 422, "input_data: Field required"),
        (_with({"input_string": []}), 422, "input_data.input_string"),
        (_with({"input_string": "Hi"}), 422, "input_data.input_string"),
        (_with({"input_string": [[], []]}), 422, "2 conversations"),
        (_with({"input_string": [{"role": "robot", "content": "Hi"}]}), 422, 'it is "robot"'),
        (_with({"input_string": [{"role": "user", "content": " "}]}), 422, "the user message is empty"),
        (_with({"input_string": [{"role": "user", "content": 5}]}), 422, "content"),
        (_with({"input_string": [{"role": "user"}]}), 422, "content"),
        (_with({"parameters": {"temprature": 0.1}}), 422, "known are temperature"),
        (_with({"parameters": {"temperature": -1}}), 422, "temperature"),
        (_with({"parameters": {"temperature": "0.7"}}), 422, "temperature"),
        (_with({"parameters": {"temperature": float("nan")}}), 422, "temperature"),
        (_with({"parameters": {"temperature": True}}), 422, "temperature"),
        (_with({"parameters": {"top_p": 0}}), 422, "top_p"),
        (_with({"parameters": {"max_new_tokens": 0}}), 422, "max_new_tokens"),
        (_with({"parameters": {"stop": [""]}}), 422, "stop"),
        (_with({"parameters": {}, "params": {"top_p": 0.5}}), 422, "params: not known here"),
        (_with({"parameters": {"top_k": 50}}), 422, "top_k: not known here"),
    ],
)
def test_a_bad_body_is_refused_with_its_reason(server: ServerProcess, body: Any, status: int, words: str) -> None:
    reply = server.post("/score", body)
    assert reply.status_code == status
    assert words in reply.json()["error"]["message"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
LIKELY_MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text(max_size=20)}
)
ANY_MESSAGE = JSON | st.fixed_dictionaries({"role": JSON, "content": JSON}, optional={"name": JSON, "refusal": JSON})
MESSAGES = st.one_of(
    st.lists(LIKELY_MESSAGE, min_size=1, max_size=3),
    st.lists(st.lists(LIKELY_MESSAGE, max_size=2), max_size=2),
    st.lists(LIKELY_MESSAGE | ANY_MESSAGE, max_size=3),
    JSON,
)
NUMBER = st.integers(-2, 4) | st.floats(-1, 3) | JSON
OPTIONS = {"temperature": st.floats(0, 2) | NUMBER, "top_p": st.floats(0.1, 1) | NUMBER, "seed": NUMBER, "stop": JSON}
RIGHT_OPTIONS = {
    "temperature": st.floats(0, 2),
    "top_p": st.floats(0.1, 1),
    "seed": st.integers(),
    "stop": st.none() | st.lists(st.text(min_size=1, max_size=3), max_size=2),
}
RIGHT_MESSAGES = st.lists(LIKELY_MESSAGE.filter(lambda one: one["content"].strip()), min_size=1, max_size=3)
FEW_TOKENS = st.integers(1, 3)
RIGHT_PARAMETERS = st.fixed_dictionaries({"max_new_tokens": FEW_TOKENS}, optional=RIGHT_OPTIONS)
RIGHT_INPUT = st.fixed_dictionaries({"input_string": RIGHT_MESSAGES, "parameters": RIGHT_PARAMETERS})
PARAMETERS = st.fixed_dictionaries({"max_new_tokens": FEW_TOKENS}, optional=OPTIONS | {"other": JSON})
INPUT_DATA = st.fixed_dictionaries({"input_string": MESSAGES, "parameters": PARAMETERS})
SCORE = st.fixed_dictionaries({"input_data": RIGHT_INPUT | INPUT_DATA | JSON}) | JSON
OPENAI = st.one_of(
    st.fixed_dictionaries(
        {"model": st.just("tiny"), "messages": RIGHT_MESSAGES, "max_tokens": FEW_TOKENS},
        optional=RIGHT_OPTIONS | {"n": st.just(1), "stream": st.booleans()},
    ),
    st.fixed_dictionaries(
        {"model": st.just("tiny") | JSON, "messages": MESSAGES, "max_tokens": FEW_TOKENS},
        optional=OPTIONS | {"n": NUMBER, "stream": st.booleans() | JSON, "tools": JSON},
    ),
    JSON,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    request=st.tuples(st.just("/score"), SCORE) | st.tuples(st.just("/v1/chat/completions"), OPENAI),
)
def test_any_json_is_answered_or_refused_with_a_message(server: ServerProcess, request: tuple[str, Any]) -> None:
    reply = server.post(*request)
    assert reply.status_code in (200, 400, 422)
    assert reply.status_code == 200 or reply.json()["error"]["message"]


def test_a_large_body_is_refused(server: ServerProcess) -> None:
    assert server.score("x" * (2 << 20)).status_code == 413


def test_a_body_is_counted_where_content_length_is_absent(server: ServerProcess) -> None:
    sent = (b"x" * 65_536 for _ in range(64))
    reply = requests.post(f"{server.base_url}/score", data=sent, headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
    assert reply.request.headers["Transfer-Encoding"] == "chunked"
    assert reply.status_code == 413


def test_a_content_length_that_promises_too_much_is_refused_before_the_body(server: ServerProcess) -> None:
    connection = http.client.HTTPConnection(urlsplit(server.base_url).netloc, timeout=10)
    connection.putrequest("POST", "/score")
    connection.putheader("Authorization", f"Bearer {KEY}")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_what_no_route_takes_is_refused_in_the_same_shape(server: ServerProcess) -> None:
    assert requests.get(f"{server.base_url}/nothing", timeout=10).json()["error"]["code"] == "not_found"
    assert requests.get(f"{server.base_url}/score", timeout=10).json()["error"]["code"] == "method_not_allowed"


def test_openai_client_gets_a_completion(client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="tiny",
        messages=[
            {"role": "system", "content": "Answer in one short sentence."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Who founded "}, {"type": "text", "text": "Microsoft?"}],
            },
        ],
        max_tokens=6,
        temperature=0,
        n=1,
        presence_penalty=0,
        user="somebody",
    )
    assert completion.model == "tiny"
    assert completion.choices[0].finish_reason == "length"
    assert completion.usage is not None
    assert completion.usage.completion_tokens == 6


def test_both_protocols_answer_alike(server: ServerProcess, client: openai.OpenAI) -> None:
    completion = client.chat.completions.create(
        model="any", messages=[{"role": "user", "content": "Hi"}], max_tokens=12, temperature=0
    )
    assert completion.choices[0].message.content == server.score("Hi", max_new_tokens=12).json()["output"]


def test_openai_client_gets_a_stream_that_adds_up(server: ServerProcess, client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model="tiny",
        messages=[{"role": "user", "content": "Hi"}],
        max_tokens=24,
        temperature=0,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert sum(map(bool, pieces)) > 2
    assert "".join(pieces) == server.score("Hi", max_new_tokens=24).json()["output"]
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "length"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 24


@pytest.mark.parametrize("stream", [False, True])
def test_what_of_a_chat_is_ignored_is_named(server: ServerProcess, stream: bool) -> None:
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "stream": stream}
    assert "x-ignored-keys" not in server.post("/v1/chat/completions", chat).headers
    reply = server.post("/v1/chat/completions", chat | {"metadata": {"line": "7"}, "top_k": -1})
    assert (reply.status_code, reply.headers["x-ignored-keys"]) == (200, "metadata, top_k")


def test_openai_client_gets_its_own_errors(server: ServerProcess, client: openai.OpenAI) -> None:
    message: Any = {"role": "user", "content": "Hi"}
    with pytest.raises(openai.UnprocessableEntityError, match="presence_penalty"):
        client.chat.completions.create(model="tiny", messages=[message], presence_penalty=0.5)
    picture: Any = [{"type": "image_url", "image_url": {"url": "data:,"}}]
    with pytest.raises(openai.UnprocessableEntityError, match="not text"):
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": picture}])
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{server.base_url}/v1", api_key="wrong").models.list()


def test_the_model_is_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["tiny"]


def test_health_needs_no_key(server: ServerProcess) -> None:
    for path in ("/", "/health"):
        reply = requests.get(server.base_url + path, timeout=10)
        assert (reply.status_code, reply.json()["status"]) == (200, "healthy")


def test_metrics_count_requests_tokens_and_batches(server: ServerProcess) -> None:
    def figures() -> dict[str, float]:
        text = requests.get(f"{server.base_url}/metrics", timeout=10).text
        lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    answered = 'phi3flow_requests_total{path="/score",status="200"}'
    before = figures()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: server.score("Hi", max_new_tokens=10), range(8)))
    after = figures()
    assert after[answered] - before.get(answered, 0) == 8
    assert after['phi3flow_tokens_total{kind="completion"}'] - before['phi3flow_tokens_total{kind="completion"}'] == 80
    assert after["phi3flow_batch_size_sum"] - before["phi3flow_batch_size_sum"] == 72  # the first token is prefill's
    assert after['phi3flow_request_seconds_count{path="/score"}'] >= 8
    assert after["phi3flow_requests_waiting"] == 0


def test_a_request_id_comes_back_and_is_logged(server: ServerProcess) -> None:
    reply = server.score("Hi", max_new_tokens=3, headers={"x-request-id": "line-7"})
    assert reply.headers["x-request-id"] == "line-7"
    wait_until(lambda: any(line["request_id"] == "line-7" for line in server.access_log()))  # it follows the answer
    [line] = [line for line in server.access_log() if line["request_id"] == "line-7"]
    assert (line["method"], line["path"], line["status"], line["completion_tokens"]) == ("POST", "/score", 200, 3)
    assert line["latency_ms"] > 0


def test_the_log_shows_neither_keys_nor_contents(server: ServerProcess) -> None:
    secret = "the-treasure-lies-under-the-oak"
    server.score(secret, max_new_tokens=4)
    server.post("/score", {"input_data": {"input_string": [{"role": secret, "content": secret}]}})
    server.post(f"/{KEY}?key={KEY}", {}, headers={"x-request-id": f"{KEY}!"})
    requests.post(f"{server.base_url}/score?key={KEY}", headers={"Authorization": f"Bearer {KEY}x"}, timeout=10)
    log = server.log.read_text()
    assert len(server.access_log()) > 4
    assert KEY not in log
    assert secret not in log


def test_a_key_is_needed_to_serve(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path, tmp_path / "log", arguments=("--key-env", "NO_SUCH_VARIABLE"))
    with pytest.raises(RuntimeError, match="NO_SUCH_VARIABLE is not set: export it"):
        server.__enter__()
    assert server.process.wait() == 2


def test_json_of_errors_is_json(server: ServerProcess) -> None:
    reply = server.post("/score", json.dumps(_with({"parameters": {"temp\u2028é": 1}})).encode())
    assert "input_data.parameters.temp\u2028é" in reply.json()["error"]["message"]
