"""MLflow's tracking API as far as a run needs it: what is logged is kept, everything else is refused."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

API = "/api/2.0/mlflow/"


class TrackingServer:
    """A server with one run, as a context manager; ``calls`` are what was asked for, ``batches`` what was logged."""

    def __init__(self, artifacts: Path, *, run_id: str, refuses: bool = False) -> None:
        """``refuses``: it takes no metrics."""
        self.calls: list[str] = []
        self.batches: list[dict[str, Any]] = []
        info = {"run_id": run_id, "artifact_uri": artifacts.as_uri(), "status": "RUNNING", "lifecycle_stage": "active"}
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer({"run": {"info": info, "data": {}}})

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.batches.append(body)
                self._answer({})

            def _answer(self, body: dict[str, Any]) -> None:
                call = urlsplit(self.path).path.removeprefix(API)
                server.calls.append(call)
                known = call in ("runs/get", "runs/log-batch") and not refuses
                answer = json.dumps(body if known else {"error_code": "BAD_REQUEST", "message": f"no {call} here"})
                self.send_response(200 if known else 400)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> TrackingServer:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def metric(self, key: str) -> list[tuple[int, float]]:
        """Return the steps and values of a metric, in the order of their logging."""
        rows = [row for batch in self.batches for row in batch.get("metrics", ())]
        return [(int(row["step"]), float(row["value"])) for row in rows if row["key"] == key]
