"""The HTTP side: routes, key, limits, and the way of a request to the batcher and back."""

from __future__ import annotations

import asyncio
import hmac
import json
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future

import jinja2
import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from phi3flow.serving import protocol
from phi3flow.serving.azure.scoring_protocol import ignored_header
from phi3flow.serving.batching import MAX_WAITING, SLOTS, Batcher, Generation, QueueFullError, StoppingError
from phi3flow.serving.loading import ChatTemplateError, LoadedModel
from phi3flow.serving.observation import Exchange, Metrics, write_access_log
from phi3flow.serving.protocol import ChatCompletion, ChatRequest, RequestError

MAX_BODY_BYTES = 1 << 20
LONG_PROMPT = 10_000
"""Characters that take longer to cut into tokens, about 5 ms, than other requests should wait for."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Endpoint:
    """A model behind both protocols, as an ASGI application.

    ``name`` is the deployment's name: what ``azureml-model-deployment`` may ask for and what OpenAI's protocol
    calls the model. While ``draining`` new requests get 503 and those in flight are finished.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        name: str,
        key: str,
        slots: int = SLOTS,
        max_waiting: int = MAX_WAITING,
        max_body_bytes: int = MAX_BODY_BYTES,
    ) -> None:
        self.draining = False
        self.in_flight = 0
        self._model = model
        self._name = name
        self._key = key.encode()
        self._max_body_bytes = max_body_bytes
        self._metrics = Metrics()
        self._batcher = Batcher(model, slots=slots, max_waiting=max_waiting, on_step=self._metrics.batch_size.observe)
        self._metrics.waiting.set_function(lambda: self._batcher.waiting)
        self._metrics.in_flight.set_function(lambda: self.in_flight)
        self._started_at = int(time.time())
        self._paths, self._app = self._build()

    def _build(self) -> tuple[frozenset[str], Starlette]:
        routes = [
            Route("/", self._health, methods=["GET"]),
            Route("/health", self._health, methods=["GET"]),
            Route("/metrics", self._show_metrics, methods=["GET"]),
            Route("/score", self._score, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
            Route("/v1/chat/completions", self._chat_completions, methods=["POST"]),
            Route("/chat/completions", self._chat_completions, methods=["POST"]),
        ]
        handlers = {
            RequestError: _refuse,
            HTTPException: _refuse_http,
            ClientDisconnect: _let_go,
            Exception: _apologise,
        }
        return frozenset(route.path for route in routes), Starlette(routes=routes, exception_handlers=handlers)

    def close(self) -> None:
        """Stop the batcher; what is still unanswered gets 503."""
        self.draining = True
        self._batcher.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, count it, and log it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = self._open_exchange(scope)
        started_s = time.perf_counter()

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                message["headers"].append((b"x-request-id", exchange.request_id.encode()))
            await send(message)

        self.in_flight += 1
        try:
            await self._app(scope, receive, send_observed)
        except Exception as error:  # answered with 500 by then; the log says where it came from
            exchange.error = error
        finally:
            self.in_flight -= 1
            self._observe(exchange, time.perf_counter() - started_s)

    def _open_exchange(self, scope: Scope) -> Exchange:
        request = Request(scope)
        request_id = request.headers.get("x-request-id", "")
        exchange = Exchange(
            request_id=request_id if REQUEST_ID.fullmatch(request_id) else f"{random.getrandbits(128):032x}",
            method=request.method,
            path=request.url.path if request.url.path in self._paths else "(unknown)",
        )
        scope["exchange"] = exchange
        return exchange

    def _observe(self, exchange: Exchange, latency_s: float) -> None:
        self._metrics.requests.labels(exchange.path, str(exchange.status)).inc()
        self._metrics.latency.labels(exchange.path).observe(latency_s)
        if exchange.generation:
            self._metrics.tokens.labels("prompt").inc(exchange.generation.prompt_tokens)
            self._metrics.tokens.labels("completion").inc(exchange.generation.completion_tokens)
        write_access_log(exchange, latency_s=latency_s)

    async def _health(self, request: Request) -> Response:
        status = "draining" if self.draining else "healthy"
        return JSONResponse({"status": status, "deployment": self._name}, 503 if self.draining else 200)

    async def _show_metrics(self, request: Request) -> Response:
        return Response(self._metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _models(self, request: Request) -> Response:
        self._check_key(request, request.headers.get("api-key", ""))
        model = {
            "id": self._name,
            "object": "model",
            "created": self._started_at,
            "owned_by": "phi3flow",
            "fingerprint": self._model.fingerprint,
        }
        return JSONResponse({"object": "list", "data": [model]})

    async def _score(self, request: Request) -> Response:
        self._check_key(request)
        deployment = request.headers.get("azureml-model-deployment", self._name)
        if deployment != self._name:
            message = f"no deployment {deployment!r} here; this endpoint has {self._name!r}"
            raise RequestError(404, "deployment_not_found", message)
        chat = protocol.parse_score(await self._read_body(request))
        generation = await _answer(request, await self._submit(chat))
        return JSONResponse(protocol.score_body(chat, generation), headers=ignored_header(chat.ignored))

    async def _chat_completions(self, request: Request) -> Response:
        self._check_key(request, request.headers.get("api-key", ""))
        chat = protocol.parse_chat_completion(await self._read_body(request))
        completion, headers = ChatCompletion(self._name), ignored_header(chat.ignored)
        if not chat.stream:
            generation = await _answer(request, await self._submit(chat))
            return JSONResponse(completion.whole(generation), headers=headers)
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def send_piece(text: str | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, text)

        future = await self._submit(chat, send_piece)
        future.add_done_callback(lambda _: send_piece(None))
        events = _events(request, completion, pieces, future, usage=chat.stream_usage)
        return StreamingResponse(events, headers=headers, media_type="text/event-stream")

    def _check_key(self, request: Request, alternative: str = "") -> None:
        """Compare the Bearer key, or else the api-key header, in constant time."""
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        key = credential.strip() if scheme.lower() == "bearer" else alternative
        if not hmac.compare_digest(key.encode("latin-1"), self._key):  # latin-1: the header's bytes
            raise RequestError(401, "unauthorized", "the key is missing or wrong: Authorization: Bearer KEY")

    async def _read_body(self, request: Request) -> bytes:
        """Read the body, but not past the limit, whatever Content-Length promises."""
        error = RequestError(413, "too_large", f"the body is larger than {self._max_body_bytes} bytes")
        if int(request.headers.get("content-length", 0)) > self._max_body_bytes:
            raise error
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > self._max_body_bytes:
                raise error
        return bytes(body)

    async def _encode(self, chat: ChatRequest) -> tuple[list[int], int | None]:
        """Return the prompt's tokens and the first to score; long ones are cut in a thread, the server goes on."""
        if sum(len(message["content"]) for message in chat.messages) < LONG_PROMPT:
            return self._encode_now(chat)
        return await run_in_threadpool(self._encode_now, chat)

    def _encode_now(self, chat: ChatRequest) -> tuple[list[int], int | None]:
        if chat.scored == "answer":
            return self._model.encode_answered(chat.messages)
        prompt = self._model.encode_chat(chat.messages, complete=chat.complete)
        return prompt, 1 if chat.scored else None

    async def _submit(self, chat: ChatRequest, on_text: Callable[[str], None] | None = None) -> Future[Generation]:
        """Hand a request to the batcher, or raise RequestError: 422, 429, 503."""
        if self.draining:
            raise _stopping()
        try:
            prompt, scored_from = await self._encode(chat)
        except (jinja2.TemplateError, ChatTemplateError) as error:
            raise RequestError(422, "chat_template", f"the chat template refuses: {error}", "messages") from error
        if len(prompt) >= self._model.context_tokens:
            message = (
                f"the prompt has {len(prompt)} tokens; {self._name} reads {self._model.context_tokens}, "
                "prompt and answer together: shorten the messages or the chat history"
            )
            raise RequestError(422, "context_length_exceeded", message, "messages")
        try:
            return self._batcher.submit(prompt, chat.parameters, on_text=on_text, scored_from=scored_from)
        except QueueFullError as error:
            raise RequestError(429, "queue_full", "too many requests are waiting", retry_after_s=1) from error
        except StoppingError as error:
            raise _stopping() from error


def _stopping() -> RequestError:
    return RequestError(503, "stopping", "the server is shutting down", retry_after_s=5)


async def _answer(request: Request, future: Future[Generation]) -> Generation:
    """Wait for the answer, or for the client to go away, which frees its slot. Raises ClientDisconnect."""
    answered: asyncio.Future[Generation] = asyncio.wrap_future(future)
    gone: asyncio.Future[Message] = asyncio.ensure_future(
        request.receive()
    )  # the body is read, so that only a disconnect can come
    try:
        await asyncio.wait((answered, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answered.done():
            raise ClientDisconnect
        return _result(request, future)
    finally:
        gone.cancel()
        answered.cancel()


def _result(request: Request, future: Future[Generation]) -> Generation:
    """Return the finished answer and note it for the log."""
    try:
        generation = future.result()
    except StoppingError as error:
        raise _stopping() from error
    except torch.OutOfMemoryError as error:
        message = "no memory for a conversation this long: ask for fewer new tokens"
        raise RequestError(503, "out_of_memory", message) from error
    request.scope["exchange"].generation = generation
    return generation


async def _events(
    request: Request,
    completion: ChatCompletion,
    pieces: asyncio.Queue[str | None],
    future: Future[Generation],
    *,
    usage: bool,
) -> AsyncIterator[str]:
    """Yield the answer as server-sent events; None in ``pieces`` says that the future is done."""
    try:
        yield _event(completion.first())
        while (piece := await pieces.get()) is not None:
            yield _event(completion.piece(piece))
        try:
            generation = _result(request, future)
        except RequestError as error:
            yield _event(protocol.error_body(error))
            return
        yield _event(completion.last(generation))
        if usage:
            yield _event(completion.usage(generation))
        yield "data: [DONE]\n\n"
    finally:
        future.cancel()


def _event(data: object) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


async def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    headers = {}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.retry_after_s is not None:
        headers["retry-after"] = str(error.retry_after_s)
    return JSONResponse(protocol.error_body(error), error.status, headers)


async def _refuse_http(request: Request, error: Exception) -> Response:
    """Answer what no route takes (404, 405) in the shape of all refusals."""
    assert isinstance(error, HTTPException)
    message = f"{error.detail}: {request.method} {request.url.path}"
    refusal = RequestError(error.status_code, error.detail.lower().replace(" ", "_"), message)
    return JSONResponse(protocol.error_body(refusal), error.status_code, error.headers)


async def _let_go(request: Request, error: Exception) -> Response:
    """Answer a client that went away: nobody reads it, but the log says 499, as nginx has it."""
    return Response(status_code=499)


async def _apologise(request: Request, error: Exception) -> Response:
    """Answer an unexpected error: the log has its place under this request's id."""
    refusal = RequestError(500, "internal_error", "the server failed on this request; its log says where")
    return JSONResponse(protocol.error_body(refusal), 500)
