"""An endpoint that answers every question after the same delay, and counts what it saw: the load of batch_run.py.

It speaks both protocols of flows/chat_phi3 (POST …/score, POST …/chat/completions) over kept-alive connections, and
repeats the last message. It is an asyncio.Protocol over httptools, since on a small machine it shares the processor
with the client that is measured. GET /stats tells how many requests came, how many were in flight at once at most, and
how long the request phase was: from the first request to the last answer. The port is the first line it prints.

    python benchmarks/endpoint.py --delay-ms 100
"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import dataclass
from typing import Any

import httptools


@dataclass
class Stats:
    """What the endpoint saw; times are the event loop's."""

    requests: int = 0
    in_flight: int = 0
    peak_in_flight: int = 0
    first_request_s: float = 0.0
    last_answer_s: float = 0.0

    def begin(self, now_s: float) -> None:
        """Count a request."""
        self.first_request_s = self.first_request_s or now_s
        self.requests += 1
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def end(self, now_s: float) -> None:
        """Count its answer."""
        self.last_answer_s = now_s
        self.in_flight -= 1

    def summary(self) -> dict[str, float]:
        """Return what GET /stats answers."""
        phase_s = self.last_answer_s - self.first_request_s
        return {"requests": self.requests, "peak_in_flight": self.peak_in_flight, "request_phase_s": phase_s}


class Endpoint(asyncio.Protocol):
    """One connection; its requests come one after the other."""

    def __init__(self, stats: Stats, delay_s: float) -> None:
        self.stats = stats
        self.delay_s = delay_s
        self.loop = asyncio.get_running_loop()
        self.parser = httptools.HttpRequestParser(self)
        self.body = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.body.clear()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.parser.get_method() == b"GET":
            self._send(self.stats.summary())
            return
        self.stats.begin(self.loop.time())
        self.loop.call_later(self.delay_s, self._answer, answer_to(json.loads(self.body)))

    def _answer(self, answer: dict[str, Any]) -> None:
        self.stats.end(self.loop.time())
        self._send(answer)

    def _send(self, answer: dict[str, Any]) -> None:
        if self.transport.is_closing():
            return
        body = json.dumps(answer).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        self.transport.write(head + body)
        if not self.parser.should_keep_alive():
            self.transport.close()


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    """Repeat the last message, in the protocol of the request."""
    if "input_data" in request:
        return {"output": f"echo: {request['input_data']['input_string'][-1]['content']}"}
    message = {"role": "assistant", "content": f"echo: {request['messages'][-1]['content']}"}
    return {
        "id": "chatcmpl-0",
        "object": "chat.completion",
        "created": 0,
        "model": request["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 16, "completion_tokens": 16, "total_tokens": 32},
    }


async def serve(delay_s: float, port: int) -> None:
    """Listen on 127.0.0.1 until the process is ended."""
    stats = Stats()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Endpoint(stats, delay_s), "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay-ms", type=float, default=100.0, help="before every answer (default: %(default)g)")
    parser.add_argument("--port", type=int, default=0, help="(default: a free one)")
    args = parser.parse_args()
    asyncio.run(serve(args.delay_ms / 1000, args.port))


if __name__ == "__main__":
    main()
