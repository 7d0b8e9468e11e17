"""Fine-tunes as jobs of the workspace, planned under a name that finds them again, and submitted once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from phi3flow.azure.preflight.catalog_checks import check_retirement
from phi3flow.azure.preflight.findings import Finding, refuse
from phi3flow.azure.preflight.preflight import check_fine_tune
from phi3flow.azure.preflight.sizes import list_sizes
from phi3flow.azure.prices import describe_cost
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.data_assets import data_id, ensure_data
from phi3flow.azure.workspace.jobs import JobProgress, Jobs
from phi3flow.azure.workspace.sdk import persistently
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.azureml import BACKEND
from phi3flow.backends.azureml.fine_tuning import OUTPUT, CatalogJob, JobDraft
from phi3flow.backends.azureml.script_recipe import RECIPE as SCRIPT
from phi3flow.backends.azureml.script_recipe import ScriptJob
from phi3flow.backends.backend import FineTuneRequest, JobResult, PlannedJob
from phi3flow.backends.job_names import next_attempt
from phi3flow.datasets import read_chats
from phi3flow.datasets.chat import is_learnt
from phi3flow.errors import ConfigError, ForbiddenError
from phi3flow.text import plural

DEFAULT_RECIPE = "catalog"
RECIPES: Mapping[str, Callable[[FineTuneRequest, Mapping[str, str], Workspace], JobDraft]] = {
    DEFAULT_RECIPE: CatalogJob,
    SCRIPT: ScriptJob,
}
"""What makes a job of a request, the ids of its data assets by split, and the workspace."""


@dataclass(frozen=True, kw_only=True)
class PlannedFineTune(PlannedJob):
    """A job as it would be submitted, and the request whose files go with it."""

    request: FineTuneRequest
    draft: JobDraft


def plan_job(request: FineTuneRequest, workspace: Workspace) -> PlannedFineTune:
    """Say which job a fine-tune would be.

    Raises DatasetError for a malformed file, ConfigError for what the recipe does not take (see CatalogJob, ScriptJob),
    PreflightError where a job that is not there yet could not run.
    """
    if request.model:
        workspace = workspace.with_model(request.model)
    settings = workspace.settings
    remarks = _check_files(request)
    _check_nodes(request, settings)
    _check_gpus(request, workspace)
    data = {role: data_id(workspace, path, role=role) for role, path in request.files.items()}
    draft = _recipe(request)(request, data, workspace)
    name, status = next_attempt(draft.name, Jobs(workspace).status)
    is_new = status is None
    return PlannedFineTune(
        name=name,
        model=f"{draft.model.name}:{draft.model.version}",
        status=status,
        cost=_cost(request, workspace) if is_new else None,
        warnings=(*remarks, *map(str, _check(draft, workspace))) if is_new else (),
        request=request,
        draft=draft,
    )


def send_job(planned: PlannedFineTune, workspace: Workspace) -> None:
    """Upload the files that are not there yet, and submit the job. Raises AzureError."""
    for role, path in planned.request.files.items():
        ensure_data(workspace, path, role=role)
    job = planned.draft.make(planned.name)
    persistently(f"job {planned.name}", lambda: workspace.sdk.workspace.jobs.create_or_update(job))


def output_of(job: str) -> str:
    """Return where a job leaves its model."""
    return f"azureml://jobs/{job}/outputs/{OUTPUT}"


def describe_end(end: JobProgress) -> JobResult:
    """Return the result of a job that has ended."""
    metrics = [f"{name}: {value:.4g}" for name, value in sorted(end.metrics.items())]
    return JobResult(
        backend=BACKEND,
        job=end.name,
        status=end.status,
        output=output_of(end.name),
        metrics=dict(end.metrics),
        summary="\n".join([f"{end.name}: {end.status}", *metrics]),
    )


def _recipe(request: FineTuneRequest) -> Callable[[FineTuneRequest, Mapping[str, str], Workspace], JobDraft]:
    recipe = request.recipe or DEFAULT_RECIPE
    if recipe not in RECIPES:
        raise ConfigError(f"--recipe {recipe}: there are {', '.join(RECIPES)}")
    return RECIPES[recipe]


def _check(draft: JobDraft, workspace: Workspace) -> list[Finding]:
    return refuse([*check_fine_tune(workspace), *check_retirement(draft.model, workspace.settings)])


def _check_files(request: FineTuneRequest) -> list[str]:
    """Check the files, and say where the recipe will not do what they ask."""
    messages = [message for path in request.files.values() for row in read_chats(path) for message in row["messages"]]
    ignored = sum(message["role"] == "assistant" and not is_learnt(message) for message in messages)
    if not ignored or request.recipe == SCRIPT:
        return []
    return [
        f"{plural(ignored, 'message')} of weight 0: the catalog's component does not know weights and learns them too; "
        f"--recipe {SCRIPT} leaves them out"
    ]


def _check_nodes(request: FineTuneRequest, settings: AzureSettings) -> None:
    if request.nodes > settings.max_nodes:
        raise ConfigError(
            f"--nodes {request.nodes}: the cluster {settings.compute} has at most {settings.max_nodes}: set max_nodes "
            "in phi3flow.toml and `phi3flow azure up`"
        )


def _check_gpus(request: FineTuneRequest, workspace: Workspace) -> None:
    if request.gpus == 1:
        return
    try:
        size = list_sizes(workspace).get(workspace.settings.fine_tune_size.lower())
    except ForbiddenError:
        return  # who has a role on the group only may not see sizes, and Azure looks again
    if size and request.gpus > size.gpus:
        raise ConfigError(
            f"--gpus {request.gpus}: a {size.name} has {size.gpus}; set fine_tune_size in phi3flow.toml to a size with "
            "more, or --nodes"
        )


def _cost(request: FineTuneRequest, workspace: Workspace) -> Callable[[], str]:
    return lambda: describe_cost(workspace.settings.fine_tune_size, workspace.location, request.nodes)
