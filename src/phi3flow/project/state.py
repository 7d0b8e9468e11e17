"""``.phi3flow/state.json``: what the verbs of this project made, so that the next verb needs no argument.

It holds names, paths, process ids and URLs; never a secret. Writes are atomic and under a lock, so that two
commands at once lose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError

from phi3flow.errors import ConfigError
from phi3flow.project.paths import STATE_FILE
from phi3flow.records.record import Record
from phi3flow.records.validation import first_problem
from phi3flow.storage.files import write_file


class JobState(Record):
    """A fine-tune: ``name`` is the job's name, ``output`` where its model lies (a folder or a job output).

    ``fingerprint`` is of all that decides its result, where the service names jobs by itself.
    """

    backend: str
    name: str
    status: str
    output: str | None = None
    fingerprint: str | None = None
    created_at: datetime


class ModelState(Record):
    """A registered model: ``source`` is what it was registered from (a folder or an azureml:// path)."""

    backend: str
    name: str
    version: str
    source: str
    created_at: datetime


class EndpointState(Record):
    """A deployment behind an endpoint; ``pid`` and ``log`` only where it is a process of this machine.

    ``url`` is None as long as it comes up; of one that speaks ``protocol`` openai it is the base. ``asked_as`` is what
    requests call its model, where they must.
    """

    backend: str
    endpoint: str
    deployment: str
    url: str | None = None
    protocol: Literal["azureml", "openai"] = "azureml"
    asked_as: str | None = None
    model: str
    traffic: int = 100
    pid: int | None = None
    pid_created_at: float | None = None
    log: str | None = None
    created_at: datetime


Liveness = Literal["starting", "running", "stopping", "unresponsive", "crashed", "stopped"]


class EndpointStatus(EndpointState):
    """An endpoint and how it fares: ``detail`` says what is known where it does not run.

    ``size``, ``instances`` and ``dollars_per_day`` are of machines that are rented.
    """

    state: Liveness
    detail: str | None = None
    size: str | None = None
    instances: int | None = None
    dollars_per_day: float | None = None


class ProjectState(Record):
    """Everything the verbs made here, oldest first."""

    schema_version: int = 1
    jobs: list[JobState] = Field(default_factory=list)
    models: list[ModelState] = Field(default_factory=list)
    endpoints: list[EndpointState] = Field(default_factory=list)

    @property
    def backends(self) -> set[str]:
        """The names of the backends that something was made with."""
        lists: tuple[Iterable[JobState | ModelState | EndpointState], ...] = (self.jobs, self.models, self.endpoints)
        return {record.backend for records in lists for record in records}


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


State = TypeVar("State", JobState, ModelState, EndpointState)


class BackendState:
    """What one backend made in a project, oldest first; what is noted last stands last, whichever backend made it.

    Every change is atomic and under the state's lock.
    """

    def __init__(self, backend: str, path: Path = STATE_FILE) -> None:
        self.backend, self.path = backend, path

    def jobs(self) -> list[JobState]:
        """Return its fine-tunes."""
        return self._own(load(self.path).jobs)

    def models(self) -> list[ModelState]:
        """Return its registered models."""
        return self._own(load(self.path).models)

    def endpoints(self) -> list[EndpointState]:
        """Return its deployments, without asking whether they live."""
        return self._own(load(self.path).endpoints)

    def note_job(self, job: JobState) -> None:
        """Note a job in place of what was noted of it."""
        self._change(jobs=lambda jobs: [*self._without(jobs, name=job.name), job])

    def forget_job(self, name: str) -> None:
        """Forget a job."""
        self._change(jobs=lambda jobs: self._without(jobs, name=name))

    def note_model(self, model: ModelState) -> None:
        """Note a version of a model in place of what was noted of it."""
        self._change(models=lambda models: [*self._without(models, name=model.name, version=model.version), model])

    def forget_model(self, name: str, version: str) -> None:
        """Forget a version of a model."""
        self._change(models=lambda models: self._without(models, name=name, version=version))

    def note_endpoint(self, endpoint: EndpointState, *, traffic: Mapping[str, int]) -> None:
        """Note a deployment in place of what was noted of it, and what its endpoint's other deployments get now.

        ``traffic`` is in percent, by deployment; one that is missing there gets none.
        """

        def change(endpoints: list[EndpointState]) -> list[EndpointState]:
            kept = self._without(endpoints, endpoint=endpoint.endpoint, deployment=endpoint.deployment)
            return [*(self._share(neighbour, endpoint.endpoint, traffic) for neighbour in kept), endpoint]

        self._change(endpoints=change)

    def forget_endpoint(self, name: str, deployment: str | None = None) -> None:
        """Forget an endpoint, or one deployment of it."""
        keys = {"endpoint": name, **({"deployment": deployment} if deployment else {})}
        self._change(endpoints=lambda endpoints: self._without(endpoints, **keys))

    def _own(self, records: Iterable[State]) -> list[State]:
        return [record for record in records if record.backend == self.backend]

    def _without(self, records: Iterable[State], **keys: str) -> list[State]:
        """Leave out this backend's records that have all these keys."""
        keys["backend"] = self.backend
        return [record for record in records if any(getattr(record, key) != value for key, value in keys.items())]

    def _share(self, neighbour: EndpointState, endpoint: str, traffic: Mapping[str, int]) -> EndpointState:
        if (neighbour.backend, neighbour.endpoint) != (self.backend, endpoint):
            return neighbour
        return neighbour.model_copy(update={"traffic": traffic.get(neighbour.deployment, 0)})

    def _change(
        self,
        *,
        jobs: Callable[[list[JobState]], list[JobState]] = list,
        models: Callable[[list[ModelState]], list[ModelState]] = list,
        endpoints: Callable[[list[EndpointState]], list[EndpointState]] = list,
    ) -> None:
        def change(before: ProjectState) -> ProjectState:
            lists = {
                "jobs": jobs(before.jobs),
                "models": models(before.models),
                "endpoints": endpoints(before.endpoints),
            }
            return before.model_copy(update=lists)

        update(change, self.path)
