"""What the exceptions of the usual HTTP clients say, each raised by the real client against a real endpoint."""

from __future__ import annotations

import asyncio
import email.utils
import time
from collections.abc import Callable

import aiohttp
import httpx
import openai
import pytest
import requests

from phi3flow.pacing.failures import describe_failure, is_endpoint_failure, parse_duration, parse_retry_after
from phi3flow.records.lines import LineError
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply

BODY = {"messages": [{"role": "user", "content": "q"}]}


def _requests(url: str) -> None:
    requests.post(url, json=BODY, timeout=5).raise_for_status()


def _httpx(url: str) -> None:
    httpx.post(url, json=BODY, timeout=5).raise_for_status()


def _aiohttp(url: str) -> None:
    async def post() -> None:
        async with aiohttp.ClientSession(raise_for_status=True) as session, session.post(url, json=BODY) as response:
            await response.read()

    asyncio.run(post())


def _openai(url: str) -> None:
    client = openai.OpenAI(base_url=url.rsplit("/", 1)[0], api_key="none", max_retries=0)
    client.chat.completions.create(model="m", messages=[{"role": "user", "content": "q"}])


CLIENTS = [_requests, _httpx, _aiohttp, _openai]


def _raised(call: Callable[[str], None], url: str) -> Exception:
    with pytest.raises(Exception) as caught:  # each client has its own
        call(url)
    return caught.value


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (404, False), (422, False), (408, True), (429, True), (503, True)],
)
def test_the_status_decides_whether_to_retry(client: Callable[[str], None], status: int, retryable: bool) -> None:
    with FaultEndpoint([Reply(status, headers={"Retry-After": "7"})]) as endpoint:
        failure = describe_failure(_raised(client, endpoint.url))
    assert failure.error.status_code == status
    assert failure.retryable is retryable
    assert failure.retry_after_s == 7


@pytest.mark.parametrize("client", CLIENTS)
def test_a_reset_connection_is_retried(client: Callable[[str], None]) -> None:
    with FaultEndpoint([Reply(fault="reset")]) as endpoint:
        failure = describe_failure(_raised(client, endpoint.url))
    assert failure.error.status_code is None
    assert failure.retryable


@pytest.mark.parametrize(("model_status", "retryable"), [("429", True), ("503", True), ("400", False), ("", False)])
def test_a_failed_container_is_retried_only_where_the_model_was_busy(model_status: str, retryable: bool) -> None:
    headers = {"ms-azureml-model-error-statuscode": model_status}
    with FaultEndpoint([Reply(424, headers=headers)]) as endpoint:
        assert describe_failure(_raised(_requests, endpoint.url)).retryable is retryable


def test_a_cause_carries_the_status_of_its_wrapper() -> None:
    class EndpointError(Exception):
        status_code = 424
        retryable = True
        retry_after_s = 3.0

    wrapper = ValueError("the tool gave up")
    wrapper.__cause__ = EndpointError("busy")
    failure = describe_failure(wrapper)
    assert (failure.error.type, failure.error.message) == ("ValueError", "the tool gave up")
    assert (failure.error.status_code, failure.retryable, failure.retry_after_s) == (424, True, 3.0)


def test_an_ordinary_exception_is_not_retried() -> None:
    failure = describe_failure(KeyError("answer"))
    assert (failure.retryable, failure.error.status_code, failure.error.message) == (False, None, "'answer'")


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after("12") == 12
    assert parse_retry_after("0.5") == 0.5
    date = email.utils.formatdate(time.time() + 60, usegmt=True)
    assert parse_retry_after(date) == pytest.approx(60, abs=2)
    assert parse_retry_after(time.asctime(time.gmtime(time.time() + 60))) == pytest.approx(60, abs=2)  # in UTC, unsaid
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT") == 0
    assert parse_retry_after("soon") is None
    assert parse_retry_after(None) is None


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [
        ("6ms", 0.006), ("1s", 1.0), ("1m30s", 90.0), ("7.66s", 7.66), ("2h1m", 7260.0), ("26", 26.0),
        (" 26 ", 26.0), ("0", 0.0),
        ("1733021000", None), ("2026-12-01T00:00:00Z", None), ("-1s", None), ("soon", None), ("", None), (None, None),
        ("1m30", None), ("9" * 400, None),
    ],
)  # fmt: skip
def test_when_a_limit_is_whole_again_is_a_duration(text: str | None, duration_s: float | None) -> None:
    assert parse_duration(text) == (None if duration_s is None else pytest.approx(duration_s))


@pytest.mark.parametrize(
    ("kind", "status", "is_the_endpoints"),
    [
        ("EndpointError", 429, True),
        ("EndpointError", 503, True),
        ("InternalServerError", 529, True),
        ("EndpointError", 424, True),
        ("TimeoutError", None, True),
        ("ReadTimeout", None, True),
        ("ConnectionError", None, True),
        ("EndpointError", 400, False),
        ("EndpointError", None, False),
        ("ValueError", None, False),
    ],
)
def test_what_an_endpoint_caused_is_known_from_the_record(
    kind: str, status: int | None, is_the_endpoints: bool
) -> None:
    error = LineError(type=kind, message="no answer", status_code=status)
    assert is_endpoint_failure(error) is is_the_endpoints
