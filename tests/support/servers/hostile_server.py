"""Servers that answer with what no client should take: without end, far too large, or unpacked to far too much."""

from __future__ import annotations

import json
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from types import TracebackType
from typing import Self

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_BLOCK = b"x" * 65536
_BOMB_MB = 1_000


def _without_end(first: bytes, again: bytes = _BLOCK, *, wait_s: float = 0.0) -> Iterator[bytes]:
    yield first
    while True:
        yield again
        time.sleep(wait_s)


def _whole(body: bytes, headers: bytes = b"") -> Iterator[bytes]:
    yield _OK + headers + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _bomb() -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(compressor.compress(b" " * 1_000_000) for _ in range(_BOMB_MB)) + compressor.flush()


ANSWERS = {
    "an answer without end": lambda: _without_end(_OK + b'\r\n{"output":"'),
    "chunks without end": lambda: _without_end(
        _OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 10_000, wait_s=0.001
    ),
    "an error without end": lambda: _without_end(b"HTTP/1.1 500 No\r\n\r\n"),
    "a refusal without end": lambda: _without_end(b"HTTP/1.1 429 No\r\nRetry-After: 0\r\n\r\n"),
    "headers without end": lambda: _without_end(b"HTTP/1.1 200 OK\r\n", b"x-a: " + b"y" * 4_000 + b"\r\n"),
    "a header without end": lambda: _without_end(b"HTTP/1.1 200 OK\r\nx-a: "),
    "a gzip bomb": lambda: _whole(_bomb(), b"Content-Encoding: gzip\r\n"),
    "the largest answer": lambda: _whole(json.dumps({"output": "x" * 3_900_000}).encode()),
    "a million lists": lambda: _whole(b'{"output":"a","more":[' + b"[]," * 1_250_000 + b"[]]}"),
    "half a million lists": lambda: _whole(b'{"output":"a","choices":[' + b"[]," * 600_000 + b"[]]}"),
    "lists in lists": lambda: _whole(b'{"output":' + b"[" * 3_900_000),
}
"""What is sent, in pieces, by what it is."""


class HostileServer:
    """A server on 127.0.0.1 that gives each request the answer of ``kind``."""

    def __init__(self, kind: str) -> None:
        first, *rest = ANSWERS[kind]() if not kind.endswith("without end") else [b""]
        self._whole = b"".join([first, *rest])
        self._kind = kind
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/score"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                _read_request(connection)
                for piece in [self._whole] if self._whole else ANSWERS[self._kind]():
                    connection.sendall(piece)
            except OSError:
                return


def _read_request(connection: socket.socket) -> None:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536) or b"\r\n\r\n"
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length and (more := connection.recv(65536)):
        body += more
