"""An OpenAI-compatible server on 127.0.0.1 whose answers follow from the request alone, and which keeps the requests.

It has what promptflow's example flows ask for: chat completions (also streamed, several, with tools and JSON),
completions and embeddings, under the paths of OpenAI and of Azure OpenAI. An answer begins with what the prompt seems
to want, a number or JSON, so that flows which read it do not all fail.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

NOT_SCRIPTED = "the Assistants API is not scripted"
_NUMBER = re.compile(r"\b(score|rating|stars?|rate|1 to 5|integer)\b", re.IGNORECASE)
_KEY = re.compile(r'\\"(\w+)\\":')  # of JSON that a prompt quotes
_JSON = re.compile(r"\bjson\b", re.IGNORECASE)


class ScriptedModel:
    """The server, as a context manager. ``take_requests`` returns what was asked since it was last called."""

    def __init__(self) -> None:
        self._requests: list[str] = []
        self._lock = threading.Lock()
        model = self

        class Handler(_Handler):
            keep = model._keep

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ScriptedModel:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take_requests(self) -> list[str]:
        """Return the requests since the last call, each a path and a body, sorted."""
        with self._lock:
            taken, self._requests = self._requests, []
        return sorted(taken)

    def _keep(self, path: str, body: Any) -> None:
        with self._lock:
            self._requests.append(f"{path} {json.dumps(body, sort_keys=True)}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.partition("?")[0]
        if not path.endswith(("/completions", "/embeddings")):
            self._send_not_scripted()
            return
        body = json.loads(content)
        self.keep(path, body)
        if path.endswith("/embeddings"):
            self._send(_embeddings(body))
        elif body.get("stream"):
            self._stream(_chunks(body, is_chat=path.endswith("/chat/completions")))
        else:
            self._send(_completion(body, is_chat=path.endswith("/chat/completions")))

    def do_GET(self) -> None:
        self._send_not_scripted()

    def _send_not_scripted(self) -> None:
        """Answer what the model has not: the Assistants API of some flows. What is sent with it may be left unread."""
        self.close_connection = True
        self._send({"error": {"code": "404", "message": NOT_SCRIPTED}}, status=404)

    def _send(self, content: dict[str, Any], *, status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
        body = b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks) + b"data: [DONE]\n\n"
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def answer_to(body: dict[str, Any]) -> str:
    """Return the answer's text, which the prompt alone decides."""
    asked = json.dumps(body.get("messages") or body.get("prompt"), sort_keys=True)
    digest = hashlib.sha256(asked.encode()).hexdigest()
    number = int(digest, 16) % 5 + 1
    if body.get("response_format", {}).get("type") == "json_object" or _JSON.search(asked):
        texts = {name: f"{name} {digest[:8]}" for name in ("answer", "name", "evidence", "explanation", "category")}
        return json.dumps({**texts, **dict.fromkeys(_KEY.findall(asked), number), "score": number})
    return f"{number}" if _NUMBER.search(asked) else f"answer {digest[:8]} to {len(asked)} characters"


def _completion(body: dict[str, Any], *, is_chat: bool) -> dict[str, Any]:
    answer = answer_to(body)
    choices = []
    for index in range(int(body.get("n") or 1)):
        text = answer if not index else f"{answer} ({index})"
        spoken: dict[str, Any] = {"text": text, "logprobs": None}
        if is_chat:
            spoken = {"message": {"role": "assistant", "content": text}}
            if call := _call(body):
                spoken["message"] = {"role": "assistant", "content": None, **call}
        choices.append({"index": index, "finish_reason": "stop", **spoken})
    name = "chat.completion" if is_chat else "text_completion"
    usage = {"prompt_tokens": 16, "completion_tokens": 16, "total_tokens": 32}
    return {"id": "1", "object": name, "created": 0, "model": _model(body), "choices": choices, "usage": usage}


def _call(body: dict[str, Any]) -> dict[str, Any] | None:
    """Return a call of the function finish, else of the first that is offered, where the last message is a user's."""
    if (body.get("messages") or [{}])[-1].get("role") != "user":
        return None
    if functions := body.get("functions"):
        return {"function_call": _arguments(next((one for one in functions if one["name"] == "finish"), functions[0]))}
    if tools := body.get("tools"):
        return {"tool_calls": [{"id": "call_1", "type": "function", "function": _arguments(tools[0]["function"])}]}
    return None


def _arguments(function: dict[str, Any]) -> dict[str, str]:
    parameters = function.get("parameters") or {}
    required = parameters.get("required") or []
    known = parameters.get("properties") or {}
    values = {name: (known.get(name, {}).get("enum") or ["Boston"])[0] for name in required}
    return {"name": function["name"], "arguments": json.dumps(values)}


def _chunks(body: dict[str, Any], *, is_chat: bool) -> Iterator[dict[str, Any]]:
    answer = answer_to(body)
    head = {"id": "1", "created": 0, "model": _model(body)}
    pieces = [answer[start : start + 7] for start in range(0, len(answer), 7)]
    for number, piece in enumerate([*pieces, None]):
        end = None if piece is not None else "stop"
        if is_chat:
            delta = {} if piece is None else {"content": piece, **({} if number else {"role": "assistant"})}
            choice = {"index": 0, "delta": delta, "finish_reason": end}
            yield {**head, "object": "chat.completion.chunk", "choices": [choice]}
        else:
            choice = {"index": 0, "text": piece or "", "logprobs": None, "finish_reason": end}
            yield {**head, "object": "text_completion", "choices": [choice]}


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    digests = [hashlib.sha256(json.dumps(text).encode()).digest() for text in texts]
    vectors = [[byte / 255 for byte in digest[:8]] for digest in digests]
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return {"object": "list", "data": data, "model": _model(body), "usage": usage}


def _model(body: dict[str, Any]) -> str:
    return str(body.get("model") or "scripted")
