"""A model behind an endpoint of this machine: which one is meant, what it is called, and the server that is started."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import SecretStr

from phi3flow.backends.backend import DeploymentRequest, PlannedDeployment
from phi3flow.backends.local import BACKEND
from phi3flow.backends.local.server_processes import (
    let_begin,
    process_of,
    started_server,
    wait_until_healthy,
    with_announced_url,
)
from phi3flow.connections.resolve import read_variable
from phi3flow.errors import ConfigError
from phi3flow.project.state import BackendState, EndpointState

NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,31}")
HOST = "127.0.0.1"
ANY_PORT = 0
KEY_VARIABLE = "PHI3_KEY"
LOAD_TIMEOUT_S = 120.0


@dataclass(frozen=True, kw_only=True)
class PlannedServer(PlannedDeployment):
    """A server as it would be started, and waited for until its model is loaded."""

    host: str
    port: int
    key_env: str
    key: SecretStr
    timeout_s: float


def plan_server(request: DeploymentRequest, state: BackendState) -> PlannedServer:
    """Find the model, its endpoint's name and its key.

    Raises ConfigError for a model or key that is missing, and for a name that does not do or whose server lives.
    """
    model = _find_model(request.model, state)
    name = _name_after(model) if request.name is None else request.name
    if not NAME.fullmatch(name):
        raise ConfigError(f"the name {name!r} does not do: a letter, then at most 31 letters, digits or hyphens")
    key_env = request.key_env or KEY_VARIABLE
    key = read_variable(key_env)
    for endpoint in state.endpoints():
        if endpoint.endpoint == name and process_of(endpoint):
            url = with_announced_url(endpoint).url
            fares = f"is running at {url}" if url else "is loading its model"
            raise ConfigError(
                f"the endpoint {name!r} {fares}: `phi3flow undeploy {name}` first, or choose another --name"
            )
    return PlannedServer(
        model=str(model),
        endpoint=name,
        deployment=name,
        host=request.host or HOST,
        port=request.port or ANY_PORT,
        key_env=key_env,
        key=key,
        timeout_s=LOAD_TIMEOUT_S if request.timeout_s is None else request.timeout_s,
    )


def start_endpoint(planned: PlannedServer, state: BackendState) -> EndpointState:
    """Start the server, noted before it begins, and wait until it is healthy.

    It outlives this process and its terminal. The key travels in its environment only. Raises DeploymentError with the
    server's last words where it does not come up.
    """
    name, log = planned.endpoint, state.path.parent / f"{planned.endpoint}.log"
    arguments = [str(Path(planned.model).resolve()), "--name", name, "--host", planned.host]
    arguments += ["--port", str(planned.port), "--key-env", planned.key_env]
    environment = os.environ | {planned.key_env: planned.key.get_secret_value()}
    try:
        with started_server(arguments, log, environment=environment) as server:
            endpoint = EndpointState(
                backend=BACKEND,
                endpoint=name,
                deployment=planned.deployment,
                model=planned.model,
                pid=server.pid,
                pid_created_at=psutil.Process(server.pid).create_time(),
                log=str(log),
                created_at=datetime.now(UTC),
            )
            state.note_endpoint(endpoint, traffic={endpoint.deployment: 100})
            let_begin(server)
            url = wait_until_healthy(server, log, timeout_s=planned.timeout_s)
            endpoint = endpoint.model_copy(update={"url": url})
            state.note_endpoint(endpoint, traffic={endpoint.deployment: 100})
    except BaseException:  # Ctrl-C too; the server has been ended
        state.forget_endpoint(name)
        raise
    return endpoint


def _find_model(reference: str | None, state: BackendState) -> Path:
    """Return the folder of the model that is meant."""
    models = state.models()
    if reference is None:
        folders = [(job.created_at, job.output) for job in state.jobs() if job.output]
        folders += [(model.created_at, model.source) for model in models]
        if not folders:
            raise ConfigError(
                "no model was fine-tuned or registered here yet: phi3flow deploy MODEL, or fine-tune first"
            )
        return Path(str(max(folders)[1]))
    if Path(reference).is_dir():
        return Path(reference)
    for model in reversed(models):
        if reference in (model.name, f"{model.name}:{model.version}"):
            return Path(model.source)
    names = ", ".join(f"{model.name}:{model.version}" for model in models)
    registered = f"; registered are {names}" if names else ""
    raise ConfigError(f"{reference} is neither a model's folder nor a registered model{registered}")


def _name_after(model: Path) -> str:
    """Return the folder's name as an endpoint may bear it."""
    return re.sub(r"[^A-Za-z0-9]+", "-", model.resolve().name).strip("-0123456789")[:32] or "phi3"
