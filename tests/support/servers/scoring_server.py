"""A real ``azmlinfsrv`` process for tests, with the scoring script for Azure ML, and the script in this process."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import requests

from tests.support.paths import ROOT
from tests.support.servers.serving import START_TIMEOUT_S

AZURE = ROOT / "src" / "phi3flow" / "serving" / "azure"
LAUNCHER = """
import sys
from azureml_inference_server_http import amlserver

def tell(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        sys.stderr.write(f"OUTGOING {event}\\n")

sys.addaudithook(tell)
amlserver.DEFAULT_HOST = "127.0.0.1"
amlserver.run()
"""
"""azmlinfsrv, which tells of every connection that it makes; it listens to the world and has no option against it."""


@dataclass
class ScoringServer:
    """``azmlinfsrv`` with the script and a model folder: a context manager that ends it. It works in ``folder``."""

    model: Path
    folder: Path
    base_url: str = ""
    process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> ScoringServer:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.base_url = f"http://127.0.0.1:{port}"
        arguments = ["--entry_script", str(AZURE / "score.py"), "--port", str(port)]
        environment = {"AZUREML_MODEL_DIR": str(self.model), "GUNICORN_CMD_ARGS": "--threads 4", "OMP_NUM_THREADS": "1"}
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCHER, *arguments],
                cwd=self.folder,
                env=os.environ | environment | {"HOME": str(self.folder)},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError(self.log())
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(60)

    def _is_up(self) -> bool:
        try:
            return requests.get(self.base_url, timeout=5).ok
        except requests.RequestException:  # until it listens; then, until the model is loaded, nobody answers
            return False

    def post(self, body: Any) -> requests.Response:
        """Post JSON (or bytes as they are) to /score."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return requests.post(f"{self.base_url}/score", data=data, timeout=60)

    def log(self) -> str:
        return (self.folder / "log").read_text()


def load_script() -> ModuleType:
    """Load the script into this process as the server does it: it never stands in sys.modules."""
    import azureml_inference_server_http.server  # noqa: F401  # makes azureml.contrib.services importable

    spec = importlib.util.spec_from_file_location("entry_module", AZURE / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
