"""What the verbs do with Azure Machine Learning: fine-tune, register, deploy, undeploy, status."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from phi3flow.azure.arm import Arm, log_in
from phi3flow.azure.preflight.findings import Finding, refuse
from phi3flow.azure.preflight.preflight import check_deployment, check_fine_tune
from phi3flow.azure.settings import load_settings
from phi3flow.azure.workspace.data_assets import data_id, ensure_data
from phi3flow.azure.workspace.endpoints import OnlineEndpoint, list_made
from phi3flow.azure.workspace.jobs import ENDED, JobProgress, Jobs, OnJobProgress
from phi3flow.azure.workspace.models import Models
from phi3flow.azure.workspace.sdk import Sdk, persistently
from phi3flow.backends.azureml.deployments import Deployer, deployment_name
from phi3flow.backends.azureml.fine_tuning import OUTPUT, CatalogFineTune, CatalogJob, JobDraft
from phi3flow.backends.azureml.script_recipe import OUTPUT_TYPE, RECIPE, ScriptFineTune, ScriptJob
from phi3flow.errors import ConfigError
from phi3flow.project import state
from phi3flow.project.paths import PROJECT, STATE_FILE
from phi3flow.project.state import EndpointState, EndpointStatus, JobState, Liveness, ModelState, ProjectState

BACKEND = "azureml"
_AGAIN = frozenset({"Failed", "Canceled"})
"""A job's name cannot be used twice: after one of these the next attempt gets a number."""
_LIVENESS: dict[str, Liveness] = {"Succeeded": "running", "Failed": "crashed", "Deleting": "stopping"}


@dataclass(frozen=True)
class PlannedJob:
    """A fine-tune as it would be submitted; ``status`` is the job's of this name, None where none was submitted."""

    name: str
    status: str | None
    draft: JobDraft
    files: Mapping[str, Path]


@dataclass(frozen=True)
class PlannedDeployment:
    """A deployment as it would be made; ``exists`` tells that it is there already, ``warnings`` what to expect."""

    endpoint: OnlineEndpoint
    deployment: str
    model: str
    model_id: str
    exists: bool
    warnings: Sequence[Finding]


class AzureMLBackend:
    """The workspace of ``project``'s phi3flow.toml; what is made there is noted in the state at ``state_path``."""

    def __init__(self, project: Path = PROJECT, *, model: str | None = None, state_path: Path = STATE_FILE) -> None:
        """``model`` is a model of the registry, in place of the settings'."""
        self._state_path = state_path
        settings = load_settings(project)
        self.settings = settings.model_copy(update={"model": model}) if model else settings

    @cached_property
    def arm(self) -> Arm:
        """The client of whoever is logged in."""
        return log_in()

    @cached_property
    def jobs(self) -> Jobs:
        """The workspace's jobs."""
        return Jobs(self.arm, self.settings)

    @cached_property
    def _sdk(self) -> Sdk:
        return Sdk(self.arm, self.settings)

    @cached_property
    def _models(self) -> Models:
        return Models(self.arm, self._sdk, self.settings)

    def plan_fine_tune(self, asked: CatalogFineTune | ScriptFineTune) -> PlannedJob:
        """Say which job a fine-tune would be; nothing is sent but questions.

        Raises DatasetError for a malformed file, ConfigError for what the recipe does not take: see CatalogJob and
        ScriptJob.
        """
        asked.check(self.settings)
        data = {role: data_id(self.settings, path, role=role) for role, path in asked.files.items()}
        draft: JobDraft
        if isinstance(asked, ScriptFineTune):
            draft = ScriptJob(asked, data, self.arm, self._sdk, self.settings)
        else:
            draft = CatalogJob(asked, data, self._sdk, self.settings)
        name, status = self._attempt(draft.name)
        return PlannedJob(name, status, draft, asked.files)

    def check_fine_tune(self) -> list[Finding]:
        """Raise PreflightError where a job could not run; return warnings."""
        return refuse(check_fine_tune(self.arm, self.settings))

    def submit(self, planned: PlannedJob) -> None:
        """Upload the files that are not there yet, and submit the job. Raises AzureError."""
        for role, path in planned.files.items():
            ensure_data(self.arm, self._sdk, self.settings, path, role=role)
        job = planned.draft.make(planned.name)
        persistently(f"job {planned.name}", lambda: self._sdk.workspace.jobs.create_or_update(job))
        self._note_job(planned.name, "NotStarted")

    def follow(self, job: str, *, on_progress: OnJobProgress) -> JobProgress:
        """Follow a job to its end, and note how it ended; see ``Jobs.follow``."""

        seen: str | None = None

        def note(progress: JobProgress) -> None:
            nonlocal seen
            if progress.status != seen:
                self._note_job(job, progress.status)
            seen = progress.status
            on_progress(progress)

        return self.jobs.follow(job, note)

    def register(self, job: str | None, *, name: str | None, flow: str | None) -> ModelState:
        """Register a job's model (the latest job's without a name), with what it was made of as tags.

        ``flow`` is the version of the chat flow that it is for. Raises ConfigError for a job that did not complete.
        """
        chosen = job or self._latest_job()
        found = self.jobs.read(chosen)
        if found is None:
            raise ConfigError(f"there is no job {chosen} in the workspace {self.settings.workspace}")
        if found.get("status") != "Completed":
            raise ConfigError(f"job {chosen} is {found.get('status')}: only a completed job has a model")
        registered = name or f"{self.settings.model}-tuned"
        tags = {key: str(value) for key, value in (found.get("tags") or {}).items() if not key.startswith("azureml.")}
        if flow:
            tags["flow_version"] = flow
        kind = OUTPUT_TYPE if tags.get("recipe") == RECIPE else "mlflow_model"
        version = self._models.register(registered, job=chosen, output=OUTPUT, kind=kind, tags=tags)
        model = ModelState(
            backend=BACKEND,
            name=registered,
            version=version,
            source=output_of(chosen),
            created_at=datetime.now(UTC),
        )
        self._update(models=lambda made: [*_without(made, name=registered, version=version), model])
        return model

    def plan_deployment(self, model: str | None, *, name: str | None) -> PlannedDeployment:
        """Say what deploying a registered model would be: NAME or NAME:VERSION, the latest registered here without.

        Raises ConfigError for a model that the workspace lacks, PreflightError where a new deployment could not be.
        """
        registered, version = self._find_model(model)
        if self._models.read(registered, version) is None:
            raise ConfigError(f"the workspace {self.settings.workspace} has no model {registered}:{version}")
        endpoint = OnlineEndpoint(self.arm, self.settings, name or self.settings.endpoint)
        deployment = deployment_name(registered, version)
        exists = endpoint.deployment(deployment) is not None
        warnings = [] if exists else refuse(check_deployment(self.arm, self.settings))
        model_id = self._models.id_of(registered, version)
        return PlannedDeployment(endpoint, deployment, f"{registered}:{version}", model_id, exists, warnings)

    def deploy(self, planned: PlannedDeployment, *, traffic: int, on_note: Callable[[str], None]) -> EndpointState:
        """Deploy, and note it; see ``Deployer.deploy``."""
        endpoint, deployment = planned.endpoint, planned.deployment
        deployer = Deployer(self.arm, self._sdk, self.settings, endpoint, on_note)
        deployed = deployer.deploy(
            model_id=planned.model_id, name=deployment, tags={"model": planned.model}, traffic=traffic
        )
        made = EndpointState(
            backend=BACKEND,
            endpoint=endpoint.name,
            deployment=deployment,
            url=deployed.url,
            model=planned.model,
            traffic=deployed.traffic.get(deployment, 0),
            created_at=datetime.now(UTC),
        )
        self._update(endpoints=lambda known: [*_with_traffic(known, made, deployed.traffic), made])
        return made

    def undeploy(self, name: str, *, deployment: str | None = None) -> None:
        """Delete an endpoint, or one deployment of it, and forget it. What is gone already is no error."""
        endpoint = OnlineEndpoint(self.arm, self.settings, name)
        if deployment is None:
            endpoint.delete()
            self._update(endpoints=lambda known: _without(known, backend=BACKEND, endpoint=name))
        else:
            endpoint.delete_deployment(deployment)
            self._update(endpoints=lambda known: _without(known, backend=BACKEND, endpoint=name, deployment=deployment))

    def endpoint_names(self) -> list[str]:
        """Return the endpoints that were made from here; where none is noted, those that Azure knows to be ours."""
        noted = dict.fromkeys(each.endpoint for each in self._noted())
        return list(noted) or [str(each["name"]) for each in list_made(self.arm, self.settings)]

    def _noted(self) -> list[EndpointState]:
        return [each for each in state.load(self._state_path).endpoints if each.backend == BACKEND]

    def status(self) -> list[EndpointStatus]:
        """Ask Azure how every deployment fares, and note how every unfinished job does.

        Besides what is noted these are the deployments that phi3flow made from another folder, or in a call that was
        killed before it noted them.
        """
        for job in state.load(self._state_path).jobs:
            if job.backend == BACKEND and job.status not in ENDED:
                found = self.jobs.read(job.name)
                self._note_job(job.name, str(found["status"]) if found else "Deleted")
        noted = self._noted()
        made = {str(each["name"]): each for each in list_made(self.arm, self.settings)}
        return [
            each
            for name in dict.fromkeys([*(each.endpoint for each in noted), *made])
            for each in self._examine(name, [each for each in noted if each.endpoint == name], made.get(name))
        ]

    def _examine(
        self, name: str, noted: Sequence[EndpointState], made: Mapping[str, Any] | None
    ) -> Iterator[EndpointStatus]:
        """Say how the noted deployments of an endpoint fare, and the others of one that phi3flow made."""
        service = OnlineEndpoint(self.arm, self.settings, name)
        found, traffic = service.deployments(), service.traffic()
        known = {each.deployment for each in noted}
        others = [_described(made, each) for key, each in found.items() if key not in known] if made else []
        for each in (*noted, *others):
            yield _fares(each, found.get(each.deployment), traffic.get(each.deployment, 0))

    def _attempt(self, name: str) -> tuple[str, str | None]:
        """Return the attempt that runs, has completed or comes next, and its status."""
        number, tried = 1, name
        while (found := self.jobs.read(tried)) is not None and found.get("status") in _AGAIN:
            number += 1
            tried = f"{name}-{number}"
        return tried, None if found is None else str(found.get("status"))

    def _latest_job(self) -> str:
        jobs = [job.name for job in state.load(self._state_path).jobs if job.backend == BACKEND]
        if not jobs:
            raise ConfigError("no job was submitted from here: register JOB, or `phi3flow fine-tune --backend azureml`")
        return jobs[-1]

    def _find_model(self, reference: str | None) -> tuple[str, str]:
        if reference is None:
            models = [each for each in state.load(self._state_path).models if each.backend == BACKEND]
            if not models:
                raise ConfigError(
                    "no model was registered from here: deploy NAME[:VERSION], or `phi3flow register` first"
                )
            return models[-1].name, models[-1].version
        name, _, version = reference.partition(":")
        return name, version or self._models.latest(name)

    def _note_job(self, name: str, status: str) -> None:
        def change(made: list[JobState]) -> list[JobState]:
            known = next((each for each in made if (each.backend, each.name) == (BACKEND, name)), None)
            created_at = known.created_at if known else datetime.now(UTC)
            job = JobState(backend=BACKEND, name=name, status=status, output=output_of(name), created_at=created_at)
            return [*_without(made, backend=BACKEND, name=name), job]

        self._update(jobs=change)

    def _update(self, **changes: Callable[[Any], Any]) -> None:
        """Change lists of the project's state, at once and under its lock."""

        def change(before: ProjectState) -> ProjectState:
            return before.model_copy(update={name: made(getattr(before, name)) for name, made in changes.items()})

        state.update(change, self._state_path)


def output_of(job: str) -> str:
    """Return where a job leaves its model."""
    return f"azureml://jobs/{job}/outputs/{OUTPUT}"


def _described(endpoint: Mapping[str, Any], deployment: Mapping[str, Any]) -> EndpointState:
    """Return a deployment as Azure tells of it."""
    created = (deployment.get("systemData") or {}).get("createdAt")
    return EndpointState(
        backend=BACKEND,
        endpoint=str(endpoint["name"]),
        deployment=str(deployment["name"]),
        url=str(endpoint["properties"].get("scoringUri", "")),
        model=str((deployment.get("tags") or {}).get("model", "")),
        created_at=datetime.fromisoformat(created) if created else datetime.now(UTC),
    )


def _fares(endpoint: EndpointState, found: Mapping[str, Any] | None, share: int) -> EndpointStatus:
    if found is None:
        return EndpointStatus(**endpoint.model_dump(), state="stopped", detail="it is not there any more")
    liveness = _LIVENESS.get(str(found["properties"].get("provisioningState")), "starting")
    detail = "it has 0 % of the traffic: it costs, and nobody is served" if not share else None
    return EndpointStatus(**endpoint.model_copy(update={"traffic": share}).model_dump(), state=liveness, detail=detail)


def _without(rows: Sequence[Any], **values: str) -> list[Any]:
    """Leave out the rows that have all these values."""
    return [row for row in rows if any(getattr(row, key) != value for key, value in values.items())]


def _with_traffic(
    known: Sequence[EndpointState], made: EndpointState, traffic: Mapping[str, int]
) -> list[EndpointState]:
    """Return the other deployments, those of the same endpoint with the traffic that they have now."""
    others = _without(known, backend=made.backend, endpoint=made.endpoint, deployment=made.deployment)
    return [
        each.model_copy(update={"traffic": traffic.get(each.deployment, 0)})
        if (each.backend, each.endpoint) == (made.backend, made.endpoint)
        else each
        for each in others
    ]
