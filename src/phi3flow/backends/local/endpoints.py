"""This machine as a backend: it fine-tunes in this process; each endpoint is a detached ``phi3flow serve`` process
that is known by its pid and start time."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import psutil

from phi3flow.backends.local.jobs import JobResult, run_job
from phi3flow.backends.local.registry import register_model
from phi3flow.connections.resolve import read_variable
from phi3flow.errors import ConfigError, DeploymentError
from phi3flow.project import state
from phi3flow.project.paths import STATE_FILE
from phi3flow.project.state import EndpointState, EndpointStatus, Liveness, ModelState, ProjectState
from phi3flow.serving import STOPPED
from phi3flow.training import FineTuneConfig
from phi3flow.training.progress import OnProgress, ignore_progress

BACKEND = "local"
NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
POLL_S = 0.05
HEALTH_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 40.0
"""Longer than a server takes to finish what is in flight."""
LAST_WORDS_BYTES = 4096
LAST_WORDS_LINES = 5


class LocalBackend:
    """The jobs, models and endpoints of the project whose state lies at ``state_path``; logs lie beside it."""

    def __init__(self, state_path: Path = STATE_FILE) -> None:
        self._state_path = state_path

    def fine_tune(self, config: FineTuneConfig, *, on_progress: OnProgress = ignore_progress) -> JobResult:
        """Run a fine-tuning job to its end; see ``phi3flow.backends.local.jobs.run_job``."""
        return run_job(config, on_progress=on_progress, state_path=self._state_path)

    def register(self, job: str | None = None, *, name: str | None = None) -> ModelState:
        """Register a job's model; see ``phi3flow.backends.local.registry.register_model``."""
        return register_model(job, name=name, state_path=self._state_path)

    def deploy(
        self,
        model: str | Path,
        *,
        name: str,
        host: str = "127.0.0.1",
        port: int = 0,
        key_env: str = "PHI3_KEY",
        timeout_s: float = 120.0,
    ) -> EndpointState:
        """Start a server for a model folder, wait until it is healthy, and note it; port 0 takes any free one.

        The server outlives this process and its terminal. The key travels in its environment only. Raises
        ConfigError for a name in use or a key that is missing, DeploymentError with the server's last words where
        it does not come up.
        """
        if not NAME.fullmatch(name):
            raise ConfigError(f"the name {name!r} does not do: a letter, then at most 31 letters, digits or hyphens")
        key = read_variable(key_env).get_secret_value()
        self._make_way(name)
        log = self._state_path.parent / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        arguments = [str(Path(model).resolve()), "--name", name, "--host", host, "--port", str(port)]
        child = None
        try:
            with _interrupts_wait():
                child = _start([*arguments, "--key-env", key_env], log, environment=os.environ | {key_env: key})
            endpoint = EndpointState(
                backend=BACKEND,
                endpoint=name,
                deployment=name,
                url=_wait_until_healthy(child, log, timeout_s=timeout_s),
                model=str(model),
                pid=child.pid,
                pid_created_at=psutil.Process(child.pid).create_time(),
                log=str(log),
                created_at=datetime.now(UTC),
            )
            self._change([endpoint], without=name)
        except BaseException:  # Ctrl-C too: no server may stay that nobody knows of
            if child:
                child.kill()
                child.wait()
            raise
        return endpoint

    def undeploy(self, name: str) -> None:
        """End the server, letting it finish what is in flight, and forget it. Raises ConfigError, DeploymentError."""
        endpoint = self._find(name)
        if endpoint is None:
            known = ", ".join(each.endpoint for each in self.endpoints()) or "nothing is deployed from here"
            raise ConfigError(f"there is no local endpoint {name!r}: {known}")
        process = _process_of(endpoint)
        if process:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except psutil.TimeoutExpired:
                process.kill()
        self._change([], without=name)

    def endpoints(self) -> list[EndpointState]:
        """Return what was deployed here, without asking whether it lives."""
        return [each for each in state.load(self._state_path).endpoints if each.backend == BACKEND]

    def status(self) -> list[EndpointStatus]:
        """Ask every endpoint how it fares."""
        return [_examine(endpoint) for endpoint in self.endpoints()]

    def _find(self, name: str) -> EndpointState | None:
        return next((each for each in self.endpoints() if each.endpoint == name), None)

    def _make_way(self, name: str) -> None:
        """Refuse a name whose server lives; forget one whose server is gone."""
        endpoint = self._find(name)
        if endpoint is None:
            return
        if _process_of(endpoint):
            raise ConfigError(
                f"the endpoint {name!r} is running at {endpoint.url}: `phi3flow undeploy {name}` first, "
                "or choose another --name"
            )
        self._change([], without=name)

    def _change(self, added: list[EndpointState], *, without: str) -> None:
        def change(before: ProjectState) -> ProjectState:
            kept = [each for each in before.endpoints if (each.backend, each.endpoint) != (BACKEND, without)]
            return before.model_copy(update={"endpoints": kept + added})

        state.update(change, self._state_path)


@contextlib.contextmanager
def _interrupts_wait() -> Iterator[None]:
    """Let a Ctrl-C wait until the block is left: a process that is just being started is in nobody's hands."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, FrameType | None]] = []
    before = signal.signal(signal.SIGINT, lambda *caught: held.append(caught))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held and callable(before):
        before(*held[0])


def _start(arguments: list[str], log: Path, *, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start ``phi3flow serve`` in a session of its own, so that it outlives this terminal."""
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "phi3flow.cli.main", "serve", *arguments, "--json"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait_until_healthy(child: subprocess.Popen[bytes], log: Path, *, timeout_s: float) -> str:
    """Return the scoring URL that the server announces in its log, once its health route answers."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if child.poll() is not None:
            words = _last_words(log)
            if child.returncode == ConfigError.exit_code:
                raise ConfigError(words.rpartition("phi3flow: error: ")[2])
            raise DeploymentError(f"the server ended with exit code {child.returncode}; its log {log}: {words}")
        url = _announced_url(log)
        if url and _health(url) == http.client.OK:
            return url
        time.sleep(POLL_S)
    raise DeploymentError(f"the server did not answer within {timeout_s:g} s; its log {log}: {_last_words(log)}")


def _announced_url(log: Path) -> str | None:
    for line in log.read_bytes().splitlines():
        if line.startswith(b'{"url"') and line.endswith(b"}"):
            return str(json.loads(line)["url"])
    return None


def _health(url: str) -> int | None:
    """Return the status that the server's health route answers with, None where it does not answer."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _process_of(endpoint: EndpointState) -> psutil.Process | None:
    """Return the endpoint's process where it lives; a pid that another program got since is not it."""
    if endpoint.pid is None:
        return None
    try:
        process = psutil.Process(endpoint.pid)
        born_s, zombie = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if born_s == endpoint.pid_created_at and not zombie else None


def _examine(endpoint: EndpointState) -> EndpointStatus:
    liveness, detail = _liveness(endpoint)
    return EndpointStatus(**endpoint.model_dump(), state=liveness, detail=detail)


def _liveness(endpoint: EndpointState) -> tuple[Liveness, str | None]:
    if _process_of(endpoint):
        status = _health(endpoint.url)
        if status == http.client.OK:
            return "running", None
        if status == http.client.SERVICE_UNAVAILABLE:
            return "stopping", "it finishes what is in flight"
        return "unresponsive", f"process {endpoint.pid} lives, but {endpoint.url} does not answer; see {endpoint.log}"
    words = _last_words(Path(endpoint.log or os.devnull))
    if words.endswith(STOPPED):
        return "stopped", "it was told to stop"
    return "crashed", f"process {endpoint.pid} is gone; the end of its log {endpoint.log}: {words or '(empty)'}"


def _last_words(log: Path) -> str:
    """Return the end of a log, at most a few lines."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LAST_WORDS_BYTES))
            lines = file.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LAST_WORDS_LINES:])
