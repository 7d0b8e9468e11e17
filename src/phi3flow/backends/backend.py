"""What every backend can do with models and endpoints, so that a verb need not know which one it speaks to.

What trains, costs or replaces something is planned first. A plan asks and changes nothing; it says what would be done,
at which cost, and with which warnings, and is then carried out as it is. A request names everything that any backend
reads: a backend follows a field or refuses it, and never overlooks one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from pydantic import Field, SecretStr

from phi3flow.azure.workspace.jobs import JobProgress
from phi3flow.errors import ConfigError
from phi3flow.project.state import EndpointState, EndpointStatus, JobState, ModelState
from phi3flow.records.record import Record
from phi3flow.training.progress import TrainingProgress

Progress = JobProgress | TrainingProgress
"""Where a fine-tune stands: at which status, where a service runs it; at which step, where this process does."""
OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class FineTuneRequest:
    """What a fine-tune is to be; a field that is left out is the backend's to decide.

    ``model`` is a folder, or a name that the backend's catalog knows. ``hyperparameters`` go by our names. ``gpus`` are
    those of one node. ``resume`` goes on from a checkpoint, ``merge`` leaves whole weights in place of an adapter. The
    model's name ends in ``suffix`` where a service names it; ``training_type`` says where the service trains.
    """

    train: Path
    validation: Path
    model: str | None = None
    output: Path | None = None
    hyperparameters: Mapping[str, float | int | str] = field(default_factory=dict)
    seed: int = 0
    resume: bool = False
    merge: bool = False
    recipe: str | None = None
    gpus: int = 1
    nodes: int = 1
    deepspeed_stage: int | None = None
    suffix: str | None = None
    training_type: str | None = None

    @property
    def files(self) -> dict[str, Path]:
        """The files, by what they are for."""
        return {"train": self.train, "validation": self.validation}


@dataclass(frozen=True)
class DeploymentRequest:
    """What a deployment is to be; a field that is left out is the backend's to decide.

    ``model`` is a folder, or NAME or NAME:VERSION of a registered model; ``name`` the endpoint's. ``key_env`` is the
    variable that holds the endpoint's key. ``traffic`` is the percentage of the endpoint's requests that it gets.
    ``content_safety`` filters questions and answers. ``sku`` is how a service hosts it, ``capacity`` in thousands of
    tokens a minute, ``source`` the resource in which the model was trained, where that is another.
    """

    model: str | None = None
    name: str | None = None
    host: str | None = None
    port: int | None = None
    key_env: str | None = None
    timeout_s: float | None = None
    traffic: float = 100.0
    content_safety: bool = True
    sku: str | None = None
    capacity: int | None = None
    source: str | None = None


@dataclass(frozen=True)
class DeletionRequest:
    """What is to be deleted: an endpoint, of it only ``deployment``, or ``model``, NAME or NAME:VERSION.

    Without any of them the only endpoint there is. ``cascade`` deletes a model's deployments with it, and with an
    endpoint its model.
    """

    endpoint: str | None = None
    deployment: str | None = None
    model: str | None = None
    cascade: bool = False


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What would be done with ``model``, and what to know before.

    ``cost`` says what it costs, and is called only where somebody has to agree: a price is a request of its own. It is
    None where nothing is begun, or it costs nothing.
    """

    model: str
    cost: Callable[[], str] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlannedJob(Planned):
    """A fine-tune as it would be submitted.

    ``name`` follows from all that decides the result. ``status`` is that of the job of this name, None where none was
    submitted.
    """

    name: str
    status: str | None


@dataclass(frozen=True, kw_only=True)
class PlannedDeployment(Planned):
    """A deployment as it would be made; ``exists`` tells that it is there already."""

    endpoint: str
    deployment: str
    exists: bool = False


PartKind = Literal["endpoint", "deployment", "model", "job", "file"]


@dataclass(frozen=True)
class Part:
    """One thing that is deleted; ``of`` is the endpoint of a deployment, or a model's version."""

    kind: PartKind
    name: str
    of: str | None = None

    @property
    def label(self) -> str:
        """What it is, to a person."""
        if self.kind == "deployment":
            return f"deployment {self.name} of the endpoint {self.of}"
        return f"{self.kind} {self.name}{f':{self.of}' if self.of else ''}"


@dataclass(frozen=True)
class PlannedDeletion:
    """Things as they would be deleted, each before what it stands on."""

    parts: tuple[Part, ...]

    @property
    def label(self) -> str:
        """What they are, to a person."""
        return ", then the ".join(part.label for part in self.parts)

    def named(self, kind: PartKind) -> str | None:
        """Return the first part of a kind, with the endpoint of a deployment in ``endpoint``'s place."""
        for part in self.parts:
            if part.kind == kind:
                return part.name
            if part.kind == "deployment" and kind == "endpoint":
                return part.of
        return None


class JobResult(Record):
    """Where a fine-tune ended, as ``fine-tune --json`` prints it, and ``summary``, as it is told to a person.

    ``metrics`` are the job's last values by name, or those ``before`` and ``after`` it. ``checkpoints`` are those that
    a service kept, ``training`` is the folder of the training.json that was made of what it told.
    """

    backend: str
    job: str
    status: str
    output: str
    metrics: dict[str, float] | dict[str, dict[str, float]]
    checkpoints: list[str] = Field(default_factory=list)
    training: str | None = None
    summary: str = Field(exclude=True)


@dataclass(frozen=True)
class EndpointAccess:
    """Where an endpoint is asked; ``key`` is None where the backend does not keep it."""

    url: str
    key: SecretStr | None


JobT = TypeVar("JobT", bound=PlannedJob)
DeploymentT = TypeVar("DeploymentT", bound=PlannedDeployment)


class Backend(Protocol[JobT, DeploymentT]):
    """Where models are trained and endpoints run; what is made there is noted in the project's state.

    Every method raises ConfigError for a name that the backend does not know, and BackendError where it fails.
    ``name`` is what ``--backend`` calls it. ``jobs_run_in`` says, as a message does, where its jobs go on when this
    process ends; None: nowhere. ``has_deployments``: an endpoint can have several, of which one can be deleted alone.
    """

    name: str
    jobs_run_in: str | None
    has_deployments: bool

    def plan(self, request: FineTuneRequest) -> JobT:
        """Say which job a fine-tune would be.

        Raises DatasetError for a malformed file, ConfigError that names the flag for what the backend does not take.
        """
        ...

    def submit(self, planned: JobT) -> JobState:
        """Begin a planned job, unless it was submitted before, and return it as it stands."""
        ...

    def follow(self, job: str, *, on_progress: OnProgress) -> JobResult:
        """Report where a job stands until it has ended. Raises BackendError, with the job's own error, where it failed.

        A job that is gone on with elsewhere (``jobs_run_in``) survives a KeyboardInterrupt.
        """
        ...

    def running_job(self, job: str | None) -> str:
        """Return the name of a job: the latest of the project that has not ended, where none is named.

        Raises ConfigError where there is none, and for one that only its own process can end.
        """
        ...

    def cancel(self, job: str) -> JobState:
        """Have a job end, wait until it has, and return it as it ended; one that has ended is left alone."""
        ...

    def register(self, job: str | None, *, name: str | None, flow_version: str | None) -> ModelState:
        """Register a job's model (the latest's without a job) and return its version; a second time it is the same.

        ``name`` is the model's. ``flow_version`` is kept with it: of the chat flow that it is for.
        """
        ...

    def plan_deployment(self, request: DeploymentRequest) -> DeploymentT:
        """Say what a deployment would be: of the latest model where the request names none.

        Raises ConfigError for an endpoint that is taken where an endpoint has one deployment.
        """
        ...

    def deploy(self, planned: DeploymentT, *, on_note: Callable[[str], None]) -> EndpointState:
        """Deploy, wait until it answers, and tell ``on_note`` what is being done; what exists is not made again.

        Raises DeploymentError where it does not come up; then nothing of it is left.
        """
        ...

    def plan_deletion(self, request: DeletionRequest) -> PlannedDeletion | None:
        """Say what ``undeploy`` would delete: without a name the only endpoint there is, None where there is nothing.

        Raises ConfigError that lists what there is for a name that is unknown or several things without one, for what
        phi3flow did not make, and for a model with deployments that are not to be deleted with it.
        """
        ...

    def undeploy(self, planned: PlannedDeletion, *, on_note: Callable[[str], None] = lambda _: None) -> None:
        """Delete what was planned, in its order, and forget it; tell ``on_note`` where that takes minutes.

        What is gone already is no error: an earlier call may have been killed.
        """
        ...

    def status(self) -> list[EndpointStatus]:
        """Ask every deployment how it fares, and note how every unfinished job does."""
        ...

    def connection(self, endpoint: str) -> EndpointAccess:
        """Return how an endpoint is asked."""
        ...


def only_name(names: Sequence[str]) -> str | None:
    """Return the only one of the names, None where there is none. Raises ConfigError for several."""
    if len(names) > 1:
        raise ConfigError(f"which one? phi3flow undeploy NAME; there are {', '.join(names)}")
    return names[0] if names else None


def model_to_delete(reference: str, noted: Sequence[ModelState]) -> Part:
    """Return the model of NAME or NAME:VERSION, the latest version noted of NAME. Raises ConfigError without one."""
    name, _, version = reference.partition(":")
    versions = [model.version for model in noted if model.name == name]
    if not version and not versions:
        raise ConfigError(f"no version of a model {name} was registered from here: give --model NAME:VERSION")
    return Part("model", name, version or versions[-1])


AnyBackend = Backend[PlannedJob, PlannedDeployment]
"""A backend as verbs have it: they hand back what it planned, whatever that holds besides."""


def refuse_flags(request: FineTuneRequest | DeploymentRequest | DeletionRequest, reasons: Mapping[str, str]) -> None:
    """Raise ConfigError for the first field that was asked for and is among ``reasons``, which say why it cannot be."""
    for setting in fields(request):
        if setting.name in reasons and getattr(request, setting.name) != setting.default:
            raise ConfigError(f"--{setting.name.replace('_', '-')} {reasons[setting.name]}")


def refuse_multiplier(request: FineTuneRequest) -> None:
    """Raise ConfigError for a factor of a service's own rate, where there is none."""
    if "learning_rate_multiplier" in request.hyperparameters:
        raise ConfigError("--learning-rate-multiplier is for --backend azure-openai; --learning-rate is the rate here")
