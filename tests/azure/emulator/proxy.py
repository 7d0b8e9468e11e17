"""A CONNECT proxy on 127.0.0.1 that terminates TLS with a test authority: unmodified clients talk HTTPS to it."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.azure.emulator.authority import Authority
from tests.azure.emulator.messages import Reply, Request


class ConnectionReset(Exception):
    """Raised by what answers requests to have the connection reset in place of an answer."""


class Proxy:
    """The proxy, as a context manager; ``answer`` is called for every request, in the connection's own thread."""

    def __init__(self, authority: Authority, answer: Callable[[Request], Reply]) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.authority, self._server.answer = authority, answer

    @property
    def url(self) -> str:
        """What HTTPS_PROXY must be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class PlainHost:
    """One host, served on a port of 127.0.0.1 without TLS, for clients that are given its address."""

    def __init__(self, host: str, answer: Callable[[Request], Reply]) -> None:
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.answer, self._server.host = answer, host
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/"

    def close(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    authority: Authority
    answer: Callable[[Request], Reply]
    host: str | None = None
    """The only host that is served; without one, each CONNECT names its own."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    host: str | None

    def setup(self) -> None:
        """Begin a connection."""
        super().setup()
        self.host = self.server.host

    def do_CONNECT(self) -> None:
        self.host = self.path.rpartition(":")[0]
        self.send_response(200, "Connection established")
        self.end_headers()
        self.connection = self.server.authority.context(self.host).wrap_socket(self.connection, server_side=True)
        self.rfile, self.wfile = self.connection.makefile("rb"), _Writer(self.connection)  # type: ignore[assignment]
        self.close_connection = False

    def _answer(self) -> None:
        if self.host is None:
            self.send_error(400, "only CONNECT")
            return
        parts = urlsplit(self.path)
        request = Request(
            self.command,
            self.host.lower(),
            unquote(parts.path),
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            {name.lower(): value for name, value in self.headers.items()},
            self._read_body(),
        )
        try:
            reply = self.server.answer(request)
        except ConnectionReset:
            self._reset()
            return
        self._send(reply)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = _answer

    def _read_body(self) -> bytes:
        # urllib3 leaves Nagle's algorithm on for proxies: the body would wait 40 ms for the headers' acknowledgement.
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(chunks)

    def _send(self, reply: Reply) -> None:
        content, content_type = _content(reply.body)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        self.send_response(reply.status)
        for name, value in {**({"content-type": content_type} if content else {}), **headers}.items():
            self.send_header(name, value)
        if "content-length" not in headers:
            self.send_header("content-length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _reset(self) -> None:
        """Close so that the client sees a reset (RST), not an end."""
        self.close_connection = True
        raw = self.connection
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.close()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""


class _Writer:
    """An unbuffered file over a TLS socket: ``makefile("wb")`` would leave bytes behind."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection

    def write(self, content: bytes) -> int:
        self._connection.sendall(content)
        return len(content)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """The socket is closed by who owns it."""

    @property
    def closed(self) -> bool:
        return False


def _content(body: Any) -> tuple[bytes, str]:
    if body is None:
        return b"", ""
    if isinstance(body, bytes):
        return body, "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain; charset=utf-8"
    return json.dumps(body).encode(), "application/json; charset=utf-8"
