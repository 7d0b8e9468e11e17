"""A real HTTP endpoint on 127.0.0.1 that answers, or fails, as a test tells it to.

    with FaultEndpoint([503, Reply(429, headers={"Retry-After": "1"}), "Paris"]) as endpoint:
        ...  # POST endpoint.url three times
        assert len(endpoint.requests) == 3

It speaks both protocols: a path that ends in /chat/completions gets OpenAI's answers, any other the Azure ML wire
contract's. Where no reply is scripted (any more) it answers ``echo: <the last user message>``. ``TokenBucket`` and
``Attempts`` are scripts; ``down`` takes the endpoint off the network for a while.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from aiohttp import web

Fault = Literal["reset", "cut", "hang", "drip"]

HTML_PAGE = (
    "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
)


@dataclass(frozen=True)
class Reply:
    """One scripted reply.

    ``body`` as str or bytes is sent as it stands, a dict or list as JSON; None is the protocol's own answer
    (``answer``, or the echo) under a status below 400, its own error object above. ``delay_s`` passes before the
    first byte. ``fault``: "reset" breaks the connection before an answer, "cut" after half of the body, "hang" never
    answers, "drip" sends a byte each ``drip_s``.
    """

    status: int = 200
    body: str | bytes | dict[str, Any] | list[Any] | None = None
    answer: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    delay_s: float = 0.0
    fault: Fault | None = None
    drip_s: float = 0.05


@dataclass(frozen=True)
class Request:
    """A request as it came in.

    ``time`` is monotonic seconds; ``client`` is the client's port, one for each connection; ``in_flight`` counts this
    request too.
    """

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    time: float
    client: int
    in_flight: int

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The chat messages, in either protocol (and where they are nested once more)."""
        body = self.json
        messages = body["input_data"]["input_string"] if "input_data" in body else body["messages"]
        return messages[0] if messages and isinstance(messages[0], list) else messages

    @property
    def parameters(self) -> dict[str, Any]:
        """The sampling parameters, in either protocol."""
        body = self.json
        if "input_data" in body:
            return body["input_data"].get("parameters", {})
        return {key: value for key, value in body.items() if key not in ("messages", "model")}

    @property
    def question(self) -> str:
        """The last user message."""
        return next(message["content"] for message in reversed(self.messages) if message["role"] == "user")


Scripted = Reply | int | str | dict[str, Any]
"""A reply, or short for one: a status, an answer, or a JSON body under status 200."""

Handler = Callable[[Request], Scripted | None]


class TokenBucket:
    """A script: a rate limit. It holds ``burst`` tokens and gains ``rate`` a second; a request without one gets a 429.

    ``retry_after`` is that reply's header, if any; ``accepted`` is what the others get.
    """

    def __init__(
        self, rate: float, burst: int, *, retry_after: str | None = None, accepted: Scripted | None = None
    ) -> None:
        self.refused = 0
        self._rate, self._burst, self._accepted = rate, float(burst), accepted
        self._tokens, self._filled_at = float(burst), time.monotonic()
        self._refusal = Reply(429, headers={} if retry_after is None else {"Retry-After": retry_after})

    def __call__(self, request: Request) -> Scripted | None:
        self._tokens = min(self._burst, self._tokens + (request.time - self._filled_at) * self._rate)
        self._filled_at = request.time
        if self._tokens < 1:
            self.refused += 1
            return self._refusal
        self._tokens -= 1
        return self._accepted


class Attempts:
    """A script by question: the replies to each attempt at it in turn, the last again and again.

    Where ``replies`` has none for a question, or None, it gets ``otherwise``. ``count`` says how often each came.
    """

    def __init__(self, replies: Mapping[str, Iterable[Scripted | None]], *, otherwise: Scripted | None = None) -> None:
        self.count: Counter[str] = Counter()
        self._replies = {question: list(script) for question, script in replies.items()}
        self._otherwise = otherwise

    def __call__(self, request: Request) -> Scripted | None:
        script = self._replies.get(request.question, [None])
        reply = script[min(self.count[request.question], len(script) - 1)]
        self.count[request.question] += 1
        return self._otherwise if reply is None else reply


class FaultEndpoint:
    """The endpoint, as a context manager; it listens from entry to exit, in a thread of its own.

    ``script`` gives the replies in order, or is a function of the request (None: the echo). With ``key``, a request
    needs ``Authorization: Bearer KEY`` or ``api-key: KEY``, else it gets a 401 that uses up no scripted reply.
    ``serves`` are the models that GET /v1/models lists, by id or whole, and may be changed; None: it has no such list.
    ``port`` is where it listens, a free one for 0: a run goes on over the endpoint that it began with.
    """

    def __init__(
        self,
        script: Iterable[Scripted] | Handler = (),
        *,
        key: str | None = None,
        serves: Sequence[str | dict[str, Any]] | None = None,
        port: int = 0,
    ) -> None:
        self.port = port
        self.serves = serves
        self._handler: Handler = script if callable(script) else _in_order(iter(script))
        self._key = key
        self._requests: list[Request] = []
        self._given_up: list[Request] = []
        self._in_flight = 0
        self._peak_in_flight = 0
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def url(self) -> str:
        """The scoring URL of the Azure ML wire contract."""
        return f"{self.base_url}/score"

    @property
    def requests(self) -> list[Request]:
        """Every request so far, refused ones too, in order of arrival."""
        with self._lock:
            return list(self._requests)

    @property
    def given_up(self) -> list[Request]:
        """The requests whose client closed the connection before it had the answer, in that order."""
        with self._lock:
            return list(self._given_up)

    @property
    def peak_in_flight(self) -> int:
        """The most requests that were being answered at one moment."""
        with self._lock:
            return self._peak_in_flight

    def __enter__(self) -> FaultEndpoint:
        self._thread.start()
        if not self._ready.wait(30):
            raise RuntimeError("the fault endpoint did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Be unreachable within: every connection is reset, new ones are refused. Afterwards the port is the same."""
        self._call(self._leave())
        try:
            yield
        finally:
            self._call(self._listen())

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=1024)
        self._site = web.SockSite(self._runner, self._listener)
        await self._site.start()

    async def _leave(self) -> None:
        self._loop.remove_reader(self._listener)
        await asyncio.sleep(0.01)  # what asyncio has accepted must be a connection, or stop() would leave it hanging
        await self._site.stop()
        assert self._runner.server is not None
        for connection in self._runner.server.connections:
            if connection.transport is not None:
                _abort(connection.transport)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_get("/{path:.*}", self._health)
        app.router.add_post("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await self._listen()
        self.port = self._runner.addresses[0][1]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._ready.set()
        try:
            await self._stopping.wait()
        finally:
            await self._runner.cleanup()

    async def _list_models(self, _: web.Request) -> web.Response:
        if self.serves is None:
            return web.Response(status=404)
        return web.json_response({"object": "list", "data": [_model(model) for model in self.serves]})

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="Healthy")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        with self._lock:
            self._in_flight += 1
            self._peak_in_flight = max(self._peak_in_flight, self._in_flight)
            recorded = Request(
                path=request.path,
                query=request.query_string,
                headers=request.headers.copy(),
                body=body,
                time=time.monotonic(),
                client=_peer_port(request),
                in_flight=self._in_flight,
            )
            self._requests.append(recorded)
        reply = self._reply_to(recorded)
        try:
            await asyncio.sleep(reply.delay_s)
            return await self._send(request, reply, _content(recorded, reply))
        except (asyncio.CancelledError, ConnectionError):
            if reply.fault != "reset" and not self._stopping.is_set():
                with self._lock:
                    self._given_up.append(recorded)
            raise
        finally:
            with self._lock:
                self._in_flight -= 1

    def _reply_to(self, request: Request) -> Reply:
        if self._key and not {f"Bearer {self._key}", self._key}.intersection(
            (request.headers.get("Authorization"), request.headers.get("api-key"))
        ):
            return Reply(401)
        return _reply(self._handler(request))

    async def _send(self, request: web.Request, reply: Reply, content: bytes) -> web.StreamResponse:
        if reply.fault == "reset":
            _reset(request)
        if reply.fault == "hang":
            await asyncio.Event().wait()
        response = web.StreamResponse(status=reply.status, reason=reply.reason, headers=_headers(reply, content))
        await response.prepare(request)
        if reply.fault == "cut":
            await response.write(content[: len(content) // 2])
            request.transport.close()
        elif reply.fault == "drip":
            for byte in content:
                await response.write(bytes([byte]))
                await asyncio.sleep(reply.drip_s)
        elif reply.fault is None:
            await response.write(content)
        return response


def _model(model: str | dict[str, Any]) -> dict[str, Any]:
    return {"id": model} if isinstance(model, str) else model


def _in_order(script: Any) -> Handler:
    return lambda _: next(script, None)


def _reply(scripted: Scripted | None) -> Reply:
    match scripted:
        case None:
            return Reply()
        case Reply():
            return scripted
        case int():
            return Reply(scripted)
        case str():
            return Reply(answer=scripted)
        case _:
            return Reply(body=scripted)


def _content(request: Request, reply: Reply) -> bytes:
    match reply.body:
        case bytes():
            return reply.body
        case str():
            return reply.body.encode()
        case None if reply.status >= 400:
            return json.dumps({"error": {"code": str(reply.status), "message": f"scripted {reply.status}"}}).encode()
        case None:
            answer = f"echo: {request.question}" if reply.answer is None else reply.answer
            return json.dumps(_wire_answer(request, answer), ensure_ascii=False).encode()
        case _:
            return json.dumps(reply.body).encode()


def _wire_answer(request: Request, answer: str) -> dict[str, Any]:
    if not request.path.endswith("/chat/completions"):
        return {"output": answer}
    prompt_tokens = sum(len(message["content"].split()) for message in request.messages)
    completion_tokens = len(answer.split())
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": request.json.get("model") or "phi3",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        },
    }


def _headers(reply: Reply, content: bytes) -> dict[str, str]:
    is_html = content.lstrip().startswith(b"<")
    content_type = "text/html" if is_html else "application/json"
    return {"Content-Type": content_type, "Content-Length": str(len(content)), **reply.headers}


def _peer_port(request: web.Request) -> int:
    assert request.transport is not None
    return int(request.transport.get_extra_info("peername")[1])


def _reset(request: web.Request) -> NoReturn:
    assert request.transport is not None
    _abort(request.transport)
    raise asyncio.CancelledError


def _abort(transport: asyncio.Transport) -> None:
    """Close so that the kernel sends RST in place of FIN."""
    connection: socket.socket = transport.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
