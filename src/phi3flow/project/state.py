"""``.phi3flow/state.json``: what the verbs of this project made, so that the next verb needs no argument.

It holds names, paths, process ids and URLs; never a secret. Writes are atomic and under a lock, so that two
commands at once lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from phi3flow.errors import ConfigError
from phi3flow.project.paths import STATE_FILE
from phi3flow.records.record import Record
from phi3flow.records.validation import first_problem
from phi3flow.storage.files import write_file


class JobState(Record):
    """A fine-tune: ``name`` is the job's name, ``output`` where its model lies (a folder or a job output)."""

    backend: str
    name: str
    status: str
    output: str | None = None
    created_at: datetime


class ModelState(Record):
    """A registered model: ``source`` is what it was registered from (a folder or an azureml:// path)."""

    backend: str
    name: str
    version: str
    source: str
    created_at: datetime


class EndpointState(Record):
    """A deployment behind an endpoint; ``pid`` and ``log`` only where it is a process of this machine."""

    backend: str
    endpoint: str
    deployment: str
    url: str
    model: str
    traffic: int = 100
    pid: int | None = None
    pid_created_at: float | None = None
    log: str | None = None
    created_at: datetime


class ProjectState(Record):
    """Everything the verbs made here, oldest first."""

    schema_version: int = 1
    jobs: list[JobState] = Field(default_factory=list)
    models: list[ModelState] = Field(default_factory=list)
    endpoints: list[EndpointState] = Field(default_factory=list)


def load(path: Path = STATE_FILE) -> ProjectState:
    """Return the state, empty where there is none yet. Raises ConfigError where the file is damaged."""
    try:
        return ProjectState.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return ProjectState()
    except ValidationError as error:
        raise ConfigError(f"{path} is damaged ({first_problem(error).message}): repair or delete it") from error


def update(change: Callable[[ProjectState], ProjectState], path: Path = STATE_FILE) -> ProjectState:
    """Apply ``change`` to the state on disk, atomically and under a lock, and return the new state."""
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        state = change(load(path))
        write_file(path, state.model_dump_json(indent=2).encode() + b"\n")
    return state


Liveness = Literal["starting", "running", "stopping", "unresponsive", "crashed", "stopped"]


class EndpointStatus(EndpointState):
    """An endpoint and how it fares: ``detail`` says what is known where it does not run."""

    state: Liveness
    detail: str | None = None
