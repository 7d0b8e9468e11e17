"""The ``phi3flow serve`` processes behind this machine's endpoints: started, waited for, looked at, ended.

A process outlives the terminal, and is known by its pid and start time.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from phi3flow.errors import ConfigError, DeploymentError
from phi3flow.project.state import EndpointState, Liveness
from phi3flow.serving import STOPPED

POLL_S = 0.05
"""Between looks at a server that loads its model."""
HEALTH_TIMEOUT_S = 2.0
STOP_TIMEOUT_S = 40.0
"""Longer than a server takes to finish what is in flight."""
LAST_WORDS_BYTES = 4096
LAST_WORDS_LINES = 5
_WAIT_AND_RUN = """
import sys
if not sys.stdin.buffer.read(1):
    sys.exit("the deploy that started this server ended before it began")
import runpy
runpy.run_module("phi3flow", run_name="__main__")
"""


@contextlib.contextmanager
def started_server(
    arguments: list[str], log: Path, *, environment: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """Give the process of a ``phi3flow serve`` that waits for ``let_begin``; a block that raises ends it.

    It is in a session of its own, so that it outlives this terminal. Until it is let begin it ends with this process,
    so that one that nobody noted yet is never left.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", _WAIT_AND_RUN, "serve", *arguments, "--json"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield child
    except BaseException:  # Ctrl-C too
        child.kill()
        child.wait()
        raise


def let_begin(child: subprocess.Popen[bytes]) -> None:
    """Have a server that waits load its model."""
    assert child.stdin is not None
    with contextlib.suppress(BrokenPipeError), child.stdin:
        child.stdin.write(b"\n")


def wait_until_healthy(child: subprocess.Popen[bytes], log: Path, *, timeout_s: float) -> str:
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
    try:
        lines = log.read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
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


def process_of(endpoint: EndpointState) -> psutil.Process | None:
    """Return the endpoint's process where it lives; a pid that another program got since is not it."""
    if endpoint.pid is None:
        return None
    try:
        process = psutil.Process(endpoint.pid)
        born_s, zombie = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if born_s == endpoint.pid_created_at and not zombie else None


def with_announced_url(endpoint: EndpointState) -> EndpointState:
    """Return an endpoint with the URL in its log where its deploy ended before the server had one."""
    if endpoint.url or not endpoint.log or not process_of(endpoint):
        return endpoint
    return endpoint.model_copy(update={"url": _announced_url(Path(endpoint.log))})


def stop_server(endpoint: EndpointState) -> None:
    """End an endpoint's process, letting it finish what is in flight; one that is gone already is no error."""
    process = process_of(endpoint)
    if process is None:
        return
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except psutil.TimeoutExpired:
        process.kill()


def look_at_server(endpoint: EndpointState) -> tuple[Liveness, str | None]:
    """Return how an endpoint fares, and what is known where it does not run."""
    if process_of(endpoint):
        if endpoint.url is None:
            return "starting", f"it loads its model; its log is {endpoint.log}"
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
