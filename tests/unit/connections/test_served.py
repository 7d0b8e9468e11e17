"""What an endpoint says that it serves: asked once, bounded, and never in the way of the run."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from phi3flow.connections.known import KnownConnections, describe_use
from phi3flow.connections.served import find_served
from tests.support.flows.foreign_flows import connection
from tests.support.servers.fault_endpoint import FaultEndpoint

KEY = "key-of-the-endpoint-0123"


@contextmanager
def _answering(send: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen for one request after the other, and answer each by ``send``."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    with suppress(OSError):
                        send(client)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/score"


def _reply(body: bytes, *, status: str = "200 OK", headers: str = "") -> Callable[[socket.socket], None]:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return lambda client: client.sendall(head.encode() + body)


def _models(*entries: object) -> bytes:
    return json.dumps({"object": "list", "data": entries}).encode()


@pytest.mark.parametrize(
    ("body", "model", "served"),
    [
        (_models({"id": "base"}), None, "base"),
        (b"\xef\xbb\xbf" + _models({"id": "base"}), None, "base"),
        (_models({"id": "base", "root": "/models/base", "created": 3}), None, "base (root /models/base)"),
        (_models({"id": "base", "fingerprint": "0a1b"}), None, "base (fingerprint 0a1b)"),
        (_models({"id": "a"}, {"id": "b"}), None, None),
        (_models({"id": "a"}, {"id": "b"}), "b", "b"),
        (_models({"id": "a"}), "b", "a"),
        (_models(), None, None),
        (_models("base", 7, {"name": "x"}, {"id": 3}), None, None),
        (_models({"id": f"x {KEY}\x1b[2J"}), None, "x *** [2J"),
        (b"[]", None, None),
        (b"{", None, None),
        (b"\xff\xfe", None, None),
        (b"[" * 100_000, None, None),
        (_models({"id": "a", "root": "r" * 10_000}), None, f"a (root {'r' * 60}…)"),
    ],
)
def test_the_model_is_that_of_the_list(body: bytes, model: str | None, served: str | None) -> None:
    with _answering(_reply(body)) as url:
        assert find_served(url, key=KEY, model=model) == served


def test_azure_names_the_deployment_whatever_else_it_answers() -> None:
    with _answering(_reply(b"", status="404 Not Found", headers="azureml-model-deployment: green\r\n")) as url:
        assert find_served(url, key=KEY, model=None) == "deployment green"


@pytest.mark.parametrize(
    ("path", "asked_at"),
    [
        ("/score", "/v1/models"),
        ("", "/v1/models"),
        ("/v1", "/v1/models"),
        ("/v1/chat/completions", "/v1/models"),
        ("/team/v1/", "/team/v1/models"),
        ("/team/score?code=abc", "/team/v1/models?code=abc"),
        ("/chat/completions", "/v1/models"),
    ],
)
def test_it_is_asked_beside_the_route_with_the_key(path: str, asked_at: str) -> None:
    heard: list[bytes] = []

    def send(client: socket.socket) -> None:
        _reply(_models({"id": "base"}))(client)

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                heard.append(client.recv(65536))
                send(client)

        threading.Thread(target=serve, daemon=True).start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{path}"
        assert find_served(url, key=KEY, model=None) == "base"
    assert heard[0].startswith(f"GET {asked_at} HTTP/1.1\r\n".encode())
    assert f"Authorization: Bearer {KEY}".encode() in heard[0]


def test_a_redirect_is_not_followed() -> None:
    with _answering(_reply(_models({"id": "stolen"}))) as elsewhere:
        location = f"Location: {elsewhere.removesuffix('/score')}/v1/models\r\n"
        with _answering(_reply(b"", status="302 Found", headers=location)) as url:
            assert find_served(url, key=KEY, model=None) is None


def _drip(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        client.sendall(b" ")
        time.sleep(0.1)


def _drip_headers(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        client.sendall(b"X: y\r\n")
        time.sleep(0.1)


def _flood(client: socket.socket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        client.sendall(b" " * 65536)


@pytest.mark.parametrize("send", [_drip, _drip_headers, _flood, lambda _: time.sleep(10), lambda _: None])
def test_no_server_holds_a_run_up(send: Callable[[socket.socket], None]) -> None:
    with _answering(send) as url:
        started = time.monotonic()
        assert find_served(url, key=KEY, model=None) is None
        assert time.monotonic() - started < 6


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/score", "http://nowhere.invalid/score", "http://[::1", "http:///x"]
)
def test_where_nobody_answers_nothing_is_said(url: str) -> None:
    assert find_served(url, key=KEY, model=None) is None


def test_loopback_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with FaultEndpoint(serves=["base"]) as endpoint:
        assert find_served(endpoint.url, key=KEY, model=None) == "base"


@pytest.mark.parametrize("url", ["http://[::1", "not a url", "", "file:///etc/passwd", "https://"])
def test_what_is_no_url_is_described_too(url: str) -> None:
    use = describe_use("endpoint", connection(url))
    assert (use.host, use.serves) == (None, None)


def test_what_may_be_a_key_in_a_path_is_not_shown() -> None:
    use = describe_use("endpoint", connection("http://127.0.0.1:1/hooks/0123456789abcdef0123456789/score"))
    assert use.endpoint == "http://127.0.0.1:1/hooks/…/score"


def test_a_use_has_no_secret_and_is_asked_for_once() -> None:
    with FaultEndpoint(serves=["base"], key=KEY) as endpoint:
        made = connection(f"{endpoint.url.replace('http://', 'http://user:pass@')}?code=secret", KEY)
        use = describe_use("endpoint", made)
        assert use.endpoint == endpoint.url
        assert not any(secret in use.model_dump_json() for secret in (KEY, "secret", "user", "pass"))
        known = KnownConnections(lambda _: connection(endpoint.url, KEY))
        assert known.uses(["endpoint"])["endpoint"].serves == "base"
        endpoint.serves = ["tuned"]
        assert known.uses(["endpoint", "endpoint"])["endpoint"].serves == "base"
        assert known.made_of()["endpoint"] == {"endpoint": endpoint.url, "serves": "base"}
