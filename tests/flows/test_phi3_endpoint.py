"""The chat flow's HTTP client against an endpoint that fails in every way the contract lists."""

from __future__ import annotations

import asyncio
import email.utils
import gzip
import json
import pickle
import subprocess
import sys
import time
import traceback
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.support.flows.chat_flow import FLOW, KEY, ask, load_client
from tests.support.servers.fault_endpoint import HTML_PAGE, FaultEndpoint, Reply, Request, Scripted

AT_ONCE = {"Retry-After": "0"}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The flow's HTTP client alone, with no retries unless a test asks for them."""
    monkeypatch.setenv("PHI3_MAX_RETRIES", "0")
    module, http = load_client()
    monkeypatch.setitem(sys.modules, "phi3_http", http)  # where pickle looks for its error
    return module


@pytest.fixture
def http(client: ModuleType) -> ModuleType:
    """The module under ``client``."""
    return sys.modules["phi3_http"]


def complete(client: ModuleType, url: str, *, key: str = KEY, **configs: str) -> str:
    """Send one question with the client alone."""
    connection = SimpleNamespace(configs={"endpoint": url, **configs}, secrets={"key": key})
    messages = [{"role": "user", "content": "Who?"}]
    return str(asyncio.run(client.complete(connection, messages, temperature=0.7, max_new_tokens=8)))


TRANSIENT: dict[str, Reply] = {
    "408": Reply(408, headers=AT_ONCE),
    "429": Reply(429, headers=AT_ONCE),
    "500": Reply(500, headers=AT_ONCE),
    "502, a page": Reply(502, body=HTML_PAGE, headers=AT_ONCE),
    "503": Reply(503, headers=AT_ONCE),
    "504": Reply(504, headers=AT_ONCE),
    "424, model 429": Reply(424, headers={**AT_ONCE, "ms-azureml-model-error-statuscode": "429"}),
    "424, model 503": Reply(424, headers={**AT_ONCE, "ms-azureml-model-error-statuscode": "503"}),
    "no Retry-After": Reply(503),
    "reset": Reply(fault="reset"),
    "cut": Reply(fault="cut"),
}


@pytest.mark.parametrize("reply", TRANSIENT.values(), ids=TRANSIENT.keys())
def test_a_passing_failure_is_retried(reply: Reply) -> None:
    with FaultEndpoint([reply, "Paris."]) as endpoint:
        assert ask(endpoint) == "Paris."
        assert len(endpoint.requests) == 2
        assert endpoint.requests[0].body == endpoint.requests[1].body


LASTING: dict[str, tuple[Scripted, int, str]] = {
    "400": (Reply(400, body={"error": "bad role"}), 400, "HTTP 400 Bad Request: .*bad role"),
    "401": (401, 401, "the key is wrong or has expired"),
    "403": (403, 403, "the key may not use this endpoint"),
    "404": (404, 404, "no deployment has traffic"),
    "413": (413, 413, "too large"),
    "422": (422, 422, "HTTP 422"),
    "308": (Reply(308, body="", headers={"Location": "/elsewhere"}), 308, "the endpoint has moved"),
    "424": (
        Reply(424, headers={"ms-azureml-model-error-statuscode": "400", "ms-azureml-model-error-reason": "KeyError"}),
        424,
        "the model's container failed .its status 400, KeyError",
    ),
    "424, nothing known": (424, 424, "its status unknown, no reason given"),
    "error under 200": ({"error": "boom", "exception": "ValueError"}, 200, "failed under status 200: .*boom"),
    "exception under 200": ({"exception": "ValueError: boom"}, 200, "failed under status 200: .*boom"),
    "error as encoded text": (Reply(body=json.dumps('{"error": "boom"}')), 200, "failed under status 200: .*boom"),
    "blocked by content safety": ({}, 200, "content safety"),
    "blocked, as encoded text": (Reply(body='"{}"'), 200, "content safety"),
    "a page under 200": (Reply(body=HTML_PAGE), 200, "the answer is not JSON: 502 Bad Gateway 502 Bad Gateway"),
    "nothing": (Reply(body=""), 200, "the answer is not JSON"),
    "no output": ({"result": "Paris."}, 200, "no text in 'output': .*result"),
    "output is a list": ({"output": ["Paris."]}, 200, "no text in 'output'"),
    "a list": (Reply(body=["Paris."]), 200, "no text in 'output'"),
}


@pytest.mark.parametrize(("reply", "status", "words"), LASTING.values(), ids=LASTING.keys())
def test_a_lasting_failure_is_an_error_that_says_what_happened(reply: Scripted, status: int, words: str) -> None:
    with FaultEndpoint([reply, "never asked"]) as endpoint:
        with pytest.raises(Exception, match=words) as caught:
            ask(endpoint)
        assert len(endpoint.requests) == 1
    assert type(caught.value).__name__ == "EndpointError"
    assert caught.value.status_code == status
    assert not caught.value.retryable
    assert endpoint.url in str(caught.value)


def test_an_answer_that_is_encoded_twice_is_an_answer() -> None:
    with FaultEndpoint([Reply(body=json.dumps('{"output": "Paris."}'))]) as endpoint:
        assert ask(endpoint) == "Paris."


def test_retries_end_after_five_and_the_error_says_that_another_try_may_help() -> None:
    with FaultEndpoint(lambda _: Reply(503, headers=AT_ONCE)) as endpoint:
        with pytest.raises(Exception, match="HTTP 503") as caught:
            ask(endpoint)
        assert len(endpoint.requests) == 6
    assert caught.value.retryable
    assert caught.value.status_code == 503
    assert caught.value.retry_after_s == 0.0


@pytest.mark.parametrize("retries", [0, 2])
def test_phi3_max_retries_bounds_the_retries(retries: int) -> None:
    with FaultEndpoint(lambda _: Reply(503, headers=AT_ONCE)) as endpoint:
        with pytest.raises(Exception, match="HTTP 503"):
            ask(endpoint, retries=retries)
        assert len(endpoint.requests) == retries + 1


def test_retry_after_is_obeyed_as_seconds_and_as_a_date(client: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHI3_MAX_RETRIES", "1")

    def pause(retry_after: str) -> float:
        with FaultEndpoint([Reply(429, headers={"Retry-After": retry_after})]) as endpoint:
            complete(client, endpoint.url)
            first, second = endpoint.requests
        return second.time - first.time

    at_once, seconds = pause("0"), pause("1")
    date = pause(email.utils.formatdate(time.time() + 2.5, usegmt=True))
    assert seconds > 5 * at_once
    assert date > 5 * at_once


def test_a_retry_after_beyond_a_requests_time_is_left_to_the_caller() -> None:
    with FaultEndpoint(lambda _: Reply(429, headers={"Retry-After": "3600"})) as endpoint:
        with pytest.raises(Exception, match="to be retried after 3600 s") as caught:
            ask(endpoint)
        assert len(endpoint.requests) == 1
    assert caught.value.retryable
    assert caught.value.retry_after_s == 3600.0


def test_waits_grow_and_are_spread_over_their_whole_range(http: ModuleType) -> None:
    error = http.EndpointError("busy", retryable=True)
    for attempt, longest in enumerate([0.5, 1, 2, 4, 8, 16, 30, 30]):
        waits = [http._wait_s(error, attempt) for _ in range(500)]
        assert 0 <= min(waits) < 0.1 * longest
        assert 0.9 * longest < max(waits) <= longest


def test_an_endpoint_that_hangs_is_given_up(client: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT_S", 0.3)
    for reply in (Reply(fault="hang"), Reply(fault="drip", drip_s=0.2)):
        with (
            FaultEndpoint([reply]) as endpoint,
            pytest.raises(client.EndpointError, match=r"no answer within 0.3 s") as e,
        ):
            complete(client, endpoint.url)
        assert e.value.retryable
        assert e.value.status_code is None


def test_a_slow_endpoint_is_waited_for() -> None:
    with FaultEndpoint([Reply(answer="Paris.", delay_s=0.3, fault="drip", drip_s=0.005)]) as endpoint:
        assert ask(endpoint) == "Paris."


def test_an_endpoint_that_is_down_is_named(client: ModuleType) -> None:
    with FaultEndpoint() as endpoint:
        url = endpoint.url
    with pytest.raises(client.EndpointError, match="the connection failed: .*Connect call failed") as caught:
        complete(client, url)
    assert url in str(caught.value)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ({"endpoint": "127.0.0.1/score"}, "endpoint is '127.0.0.1/score'"),
        ({"endpoint": "http://127.0.0.1:1/score", "key": " "}, "has no key"),
        ({"endpoint": "http://127.0.0.1:1/score", "protocol": "grpc"}, "protocol is 'grpc'"),
        ({"endpoint": "${env:NO_SUCH_VARIABLE}"}, "NO_SUCH_VARIABLE is not set"),
    ],
)
def test_a_connection_that_cannot_work_is_named(client: ModuleType, connection: dict[str, str], words: str) -> None:
    configs = {name: value for name, value in connection.items() if name not in ("endpoint", "key")}
    with pytest.raises(client.EndpointError, match=words) as caught:
        complete(client, connection["endpoint"], key=connection.get("key", KEY), **configs)
    assert not caught.value.retryable


def test_values_may_come_from_the_environment(client: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        monkeypatch.setenv("PHI3_KEY", KEY + "\n")
        assert complete(client, "${env:PHI3_ENDPOINT}", key="${env:PHI3_KEY}") == "echo: Who?"


def test_max_retries_that_is_no_number_is_named(client: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHI3_MAX_RETRIES", "many")
    with pytest.raises(client.EndpointError, match="PHI3_MAX_RETRIES is 'many'"):
        complete(client, "http://127.0.0.1:1/score")


def test_the_key_and_control_characters_are_in_no_message(client: ModuleType) -> None:
    body = f"\x1b[2J<b>denied</b> for {KEY} in Bearer {KEY} " + "x" * 5000
    with FaultEndpoint([Reply(403, body=body)]) as endpoint, pytest.raises(client.EndpointError) as caught:
        complete(client, endpoint.url + f"?code={KEY}")
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert KEY not in shown
    assert "\x1b" not in str(caught.value)
    assert "denied for *** in Bearer ***" in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (KEY, "HTTP 400 no *** here: denied for ***, not x***y"),
        ("ollama", "HTTP 400 no *** here: denied for ***, not xollamay"),
        ("a", "HTTP 400 no a here: denied for a, not xay"),
    ],
)
def test_a_key_is_in_no_reason_and_no_quote(client: ModuleType, key: str, shown: str) -> None:
    reply = Reply(400, f"denied for {key}, not x{key}y", reason=f"no {key} here")
    with FaultEndpoint([reply]) as endpoint, pytest.raises(client.EndpointError) as caught:
        complete(client, endpoint.url, key=key)
    assert str(caught.value) == f"{endpoint.url}: {shown}"


def test_the_error_survives_the_way_between_processes(client: ModuleType) -> None:
    error = client.EndpointError("busy", status_code=429, retryable=True, retry_after_s=2.0)
    copied = pickle.loads(pickle.dumps(error))
    assert (str(copied), copied.status_code, copied.retryable, copied.retry_after_s) == ("busy", 429, True, 2.0)


def test_the_openai_protocol_reaches_any_compatible_server(client: ModuleType) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        assert complete(client, f"{endpoint.base_url}/v1/", protocol="openai", model="phi3-tuned") == "echo: Who?"
        [request] = endpoint.requests
    assert request.path == "/v1/chat/completions"
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    messages = [{"role": "user", "content": "Who?"}]
    assert request.json == {"model": "phi3-tuned", "messages": messages, "temperature": 0.7, "max_tokens": 8}


def test_the_openai_protocol_reaches_azure_openai(client: ModuleType) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        url = f"{endpoint.base_url}/openai/deployments/phi3"
        assert complete(client, url, protocol="openai", api_version="2024-06-01") == "echo: Who?"
        [request] = endpoint.requests
    assert (request.path, request.query) == ("/openai/deployments/phi3/chat/completions", "api-version=2024-06-01")
    assert request.headers["api-key"] == KEY
    assert request.json["model"] == "phi3"
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"finish_reason": "content_filter", "message": {"content": "Par"}}, "content safety blocked the answer"),
        ({"finish_reason": "tool_calls", "message": {"content": None}}, "no text in choices"),
        ({}, "no text in choices"),
    ],
)
def test_an_openai_choice_without_an_answer_is_a_failure(
    client: ModuleType, choice: dict[str, Any], words: str
) -> None:
    with (
        FaultEndpoint([{"choices": [choice]}]) as endpoint,
        pytest.raises(client.EndpointError, match=words),
    ):
        complete(client, endpoint.base_url, protocol="openai")


def test_a_deployment_is_picked_by_its_header() -> None:
    with FaultEndpoint() as endpoint:
        ask(endpoint, configs={"deployment": "blue"})
        assert endpoint.requests[0].headers["azureml-model-deployment"] == "blue"


def test_a_redirect_takes_the_key_nowhere(client: ModuleType) -> None:
    with FaultEndpoint() as other, FaultEndpoint([Reply(307, body="", headers={"Location": other.url})]) as endpoint:
        with pytest.raises(client.EndpointError, match="HTTP 307"):
            complete(client, endpoint.url)
        assert other.requests == []


@pytest.mark.parametrize("compressed", [False, True])
def test_an_answer_beyond_the_bound_is_an_error(client: ModuleType, compressed: bool) -> None:
    body = json.dumps({"output": "x" * 4_000_000}).encode()
    reply = Reply(body=gzip.compress(body), headers={"Content-Encoding": "gzip"}) if compressed else Reply(body=body)
    with (
        FaultEndpoint([reply]) as endpoint,
        pytest.raises(client.EndpointError, match="the answer is larger than 4000000 bytes") as caught,
    ):
        complete(client, endpoint.url)
    assert (caught.value.status_code, caught.value.retryable) == (200, False)


def test_a_large_answer_within_the_bound_is_an_answer(client: ModuleType) -> None:
    body = gzip.compress(json.dumps({"output": "x" * 3_900_000}).encode())
    with FaultEndpoint([Reply(body=body, headers={"Content-Encoding": "gzip"})]) as endpoint:
        assert len(complete(client, endpoint.url)) == 3_900_000


def test_a_byte_order_mark_is_no_part_of_the_answer(client: ModuleType) -> None:
    with FaultEndpoint([Reply(body='{"output": "Ägypten"}'.encode("utf-8-sig"))]) as endpoint:
        assert complete(client, endpoint.url) == "Ägypten"


@pytest.mark.parametrize(
    ("charset", "body", "answer"),
    [
        ("iso-8859-1", '{"output": "Zürich"}'.encode("latin-1"), "Zürich"),
        ("utf-16", '{"output": "Zürich"}'.encode("utf-16"), "Zürich"),
        ("UTF-8", '{"output": "Zürich"}'.encode(), "Zürich"),
        ("utf-8", '{"output": "Zürich"}'.encode("latin-1"), None),
        ("no-charset", b'{"output": "Z"}', None),
        ("punycode", b'{"output": "Z"}', None),
    ],
)
def test_an_answer_is_read_as_its_charset_says_or_is_none(
    client: ModuleType, charset: str, body: bytes, answer: str | None
) -> None:
    reply = Reply(body=body, headers={"Content-Type": f"application/json; charset={charset}"})
    with FaultEndpoint([reply]) as endpoint:
        if answer:
            assert complete(client, endpoint.url) == answer
        else:
            with pytest.raises(client.EndpointError, match=f"the answer is no text in {charset}"):
                complete(client, endpoint.url)


def test_a_proxy_is_for_hosts_elsewhere_and_is_named_where_it_fails(
    client: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultEndpoint(["Bill.", 403]) as proxy, FaultEndpoint() as endpoint:
        monkeypatch.setenv("http_proxy", proxy.base_url.replace("http://", "http://user:word@"))
        assert complete(client, endpoint.url) == "echo: Who?"
        assert not proxy.requests
        assert complete(client, "http://endpoint.invalid/score") == "Bill."
        address = proxy.base_url.removeprefix("http://")
        with pytest.raises(client.EndpointError, match=rf"HTTP 403 .*, through the proxy {address}: ") as caught:
            complete(client, "http://endpoint.invalid/score")
        assert "word" not in str(caught.value)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("PHI3_MAX_RETRIES", "0")
    with pytest.raises(client.EndpointError, match=r"the connection failed, through the proxy 127\.0\.0\.1:9: "):
        complete(client, "http://endpoint.invalid/score")


def test_a_cookie_is_not_sent_back(client: ModuleType) -> None:
    async def twice() -> None:
        for _ in range(2):
            await client.complete(connection, [{"role": "user", "content": "Who?"}], temperature=0.0)

    with FaultEndpoint([Reply(headers={"Set-Cookie": "instance=7"})]) as endpoint:
        connection = SimpleNamespace(configs={"endpoint": endpoint.url}, secrets={"key": KEY})
        asyncio.run(twice())
        assert ["Cookie" in request.headers for request in endpoint.requests] == [False, False]


def test_a_run_keeps_its_connections_and_its_answers_apart(client: ModuleType) -> None:
    def echo(request: Request) -> Reply:
        return Reply(answer=request.question, delay_s=0.02)

    async def many() -> list[str]:
        async def one(question: str) -> str:
            async with slots:
                return await client.complete(connection, [{"role": "user", "content": question}], temperature=0.0)

        slots = asyncio.Semaphore(8)
        return await asyncio.gather(*(one(f"q{number}") for number in range(80)))

    with FaultEndpoint(echo) as endpoint:
        connection = SimpleNamespace(configs={"endpoint": endpoint.url}, secrets={"key": KEY})
        assert asyncio.run(many()) == [f"q{number}" for number in range(80)]
        assert endpoint.peak_in_flight == 8
        assert len({request.client for request in endpoint.requests}) == 8


def test_every_event_loop_leaves_nothing_open() -> None:
    program = """
import asyncio, gc, sys, threading
sys.path.insert(0, sys.argv[1])
from types import SimpleNamespace
import phi3_endpoint, phi3_http

connection = SimpleNamespace(configs={"endpoint": sys.argv[2]}, secrets={"key": "key"})

async def ask():
    message = {"role": "user", "content": "Who?"}
    await asyncio.gather(*(phi3_endpoint.complete(connection, [message], temperature=0.0) for _ in range(5)))

for _ in range(3):
    asyncio.run(ask())
threads = [threading.Thread(target=lambda: asyncio.run(ask())) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
gc.collect()
assert not phi3_http._sessions, phi3_http._sessions
"""
    with FaultEndpoint() as endpoint:
        arguments = [sys.executable, "-W", "always", "-c", program, str(FLOW), endpoint.url]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert len(endpoint.requests) == 55
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
