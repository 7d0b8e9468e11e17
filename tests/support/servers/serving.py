"""A real ``phi3flow serve`` process for tests, on a port of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

KEY = "a-key-that-no-log-may-show"
START_TIMEOUT_S = 60


@dataclass
class ServerProcess:
    """``phi3flow serve`` of a model folder: a context manager that ends it."""

    model: Path
    log: Path
    arguments: tuple[str, ...] = ()
    base_url: str = ""
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> ServerProcess:
        command = [sys.executable, "-m", "phi3flow.cli.main", "serve", str(self.model), "--port", "0", "--json"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, *self.arguments], env=os.environ | {"PHI3_KEY": KEY}, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.base_url:
            announced = [line for line in self.log.read_bytes().splitlines() if line.startswith(b'{"url"')]
            if announced:
                self.base_url = json.loads(announced[0])["url"].removesuffix("/score")
            elif self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(self.log.read_text())
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def score(self, question: str, *, headers: dict[str, str] | None = None, **parameters: Any) -> requests.Response:
        """Ask one question over the wire contract."""
        return self.post("/score", body_of(question, **parameters), headers=headers)

    def post(self, path: str, body: Any, *, headers: dict[str, str] | None = None) -> requests.Response:
        """Post JSON (or bytes as they are) with the key."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"} | (headers or {})
        return requests.post(self.base_url + path, data=data, headers=sent, timeout=60)

    def access_log(self) -> list[dict[str, Any]]:
        """Return the access log's lines."""
        lines = [line for line in self.log.read_text().splitlines() if line.startswith('{"time"')]
        return [json.loads(line) for line in lines]


def body_of(question: str, **parameters: Any) -> dict[str, Any]:
    """Return the wire contract's body for one question."""
    message = {"role": "user", "content": question}
    return {"input_data": {"input_string": [message], "parameters": {"temperature": 0.0} | parameters}}
