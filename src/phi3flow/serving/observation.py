"""What the server measures and logs: Prometheus metrics and one JSON line a request; never contents or keys."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from phi3flow.serving.batching import Generation

BATCH_SIZES = (1, 2, 4, 8, 16, 24, 32)
LATENCIES_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180)


class Metrics:
    """The figures of one server, in a registry of its own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter("phi3flow_requests", "Requests answered", ["path", "status"], registry=registry)
        self.latency = Histogram(
            "phi3flow_request_seconds", "Seconds to the answer", ["path"], buckets=LATENCIES_S, registry=registry
        )
        self.batch_size = Histogram(
            "phi3flow_batch_size", "Conversations a decode step", buckets=BATCH_SIZES, registry=registry
        )
        self.tokens = Counter("phi3flow_tokens", "Tokens read and written", ["kind"], registry=registry)
        self.in_flight = Gauge("phi3flow_requests_in_flight", "Requests not yet answered", registry=registry)
        self.waiting = Gauge("phi3flow_requests_waiting", "Requests without a slot", registry=registry)

    def text(self) -> bytes:
        """Return Prometheus' text format."""
        return generate_latest(self._registry)


@dataclass
class Exchange:
    """One request and what became of it, as the access log may show it."""

    request_id: str
    method: str
    path: str
    status: int = 499
    generation: Generation | None = None
    error: BaseException | None = None
    received_at: datetime = field(default_factory=lambda: datetime.now(UTC))


def write_access_log(exchange: Exchange, *, latency_s: float) -> None:
    """Write one JSON line to stderr.

    An unexpected error is shown by its type and the lines it passed: its message may quote what was sent.
    """
    generation, error = exchange.generation, exchange.error
    line = {
        "time": exchange.received_at.isoformat(timespec="milliseconds"),
        "request_id": exchange.request_id,
        "method": exchange.method,
        "path": exchange.path,
        "status": exchange.status,
        "latency_ms": round(latency_s * 1000, 1),
        "prompt_tokens": generation.prompt_tokens if generation else None,
        "completion_tokens": generation.completion_tokens if generation else None,
    }
    if error:
        frames = traceback.extract_tb(error.__traceback__)
        line |= {
            "error": type(error).__name__,
            "traceback": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames],
        }
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()
