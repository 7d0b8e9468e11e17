"""Which of the ways to fine-tune a subscription can use: this machine, Azure ML, a service, Azure OpenAI.

What is not there yet and `azure up` would make is no reason against a way.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from phi3flow.azure.foundation.inventory import PROVIDERS
from phi3flow.azure.foundation.plan import Task
from phi3flow.azure.preflight.catalog_checks import ModelLook
from phi3flow.azure.preflight.findings import Finding
from phi3flow.azure.preflight.openai_way import BACKEND as AZURE_OPENAI
from phi3flow.azure.preflight.openai_way import look_at_openai
from phi3flow.azure.preflight.preflight import Checked
from phi3flow.azure.preflight.serverless_checks import NETWORK, ROLE, check_kind, check_model, check_role
from phi3flow.azure.preflight.way import Way, is_missing, up_if_open
from phi3flow.errors import AzureError, ConfigError

LOCAL, AZUREML, SERVERLESS = "local", "azureml", "serverless"
_TRAINER = "trl"
"""What only the extra ``local`` installs."""


@dataclass(frozen=True)
class Ways:
    """All ways, and what is to be said about them besides."""

    ways: list[Way]
    findings: list[Finding]


def list_ways(look: ModelLook, tasks: Sequence[Task], checked: Checked, environment: Mapping[str, str]) -> Ways:
    """Look at every way, and change nothing. What cannot be looked at is a warning."""
    without_gpus = [*checked.disabled, *checked.without_gpus]
    looks = (
        _watch(AZUREML, without_gpus, lambda: (_look_at_azureml(look, tasks, checked), [])),
        _watch(SERVERLESS, without_gpus, lambda: (_look_at_serverless(look, tasks), [])),
        _watch(AZURE_OPENAI, checked.disabled, lambda: look_at_openai(look.workspace, tasks, environment)),
    )
    findings = [finding for _, findings in looks for finding in findings]
    return Ways([_look_at_this_machine(), *(way for way, _ in looks)], findings)


def _watch(
    backend: str, obstacles: Sequence[Finding], examine: Callable[[], tuple[Way, list[Finding]]]
) -> tuple[Way, list[Finding]]:
    """Look at a way, unless something is in the way of everything; what cannot be looked at is a warning."""
    if obstacles:
        return _blocked(backend, obstacles), []
    try:
        return examine()
    except (AzureError, ConfigError) as error:
        unseen = Finding.warning(
            f"--backend {backend}", f"it could not be looked at ({error})", "`phi3flow azure plan` looks again."
        )
        return _blocked(backend, [unseen]), [unseen]


def _blocked(backend: str, findings: Sequence[Finding]) -> Way:
    return Way(backend=backend, usable=False, reasons=[finding.message for finding in findings])


def _look_at_this_machine() -> Way:
    if importlib.util.find_spec(_TRAINER) is None:
        reason = "what trains is not installed: pip install 'phi3flow[local]'"
        return Way(backend=LOCAL, usable=False, reasons=[reason])
    return Way(backend=LOCAL, usable=True, models=["the tiny base model", "a folder of Phi-3 weights (--model)"])


def _look_at_azureml(look: ModelLook, tasks: Sequence[Task], checked: Checked) -> Way:
    """Say whether the cluster would train; what stands in the way of it is among the plan's findings already."""
    errors = [finding for finding in checked.machine_learning if finding.severity == "error"]
    if errors:
        return _blocked(AZUREML, errors)
    model, workspace = look.model, look.workspace
    subscription = workspace.settings.subscription
    after = up_if_open(tasks, workspace.id, *(f"{subscription}/providers/{namespace}" for namespace in PROVIDERS))
    if isinstance(model, Finding):
        return Way(backend=AZUREML, usable=True, after=after, note=model.why)
    return Way(backend=AZUREML, usable=True, after=after, models=[f"{model.name}:{model.version}"])


def _look_at_serverless(look: ModelLook, tasks: Sequence[Task]) -> Way:
    """Say whether the project, which need not be there yet, can fine-tune the settings' model."""
    workspace, project = look.workspace, look.workspace.of_project
    settings, model = project.settings, look.model
    role = f"{settings.group}|{ROLE}|"
    reasons = []
    if is_missing(tasks, project.id):
        settings = settings.model_copy(update={"location": workspace.location})
        project = replace(project, settings=settings)
    else:
        reasons += [*check_kind(project), *([] if up_if_open(tasks, role) else check_role(project, "fine-tuned"))]
    reasons += [model] if isinstance(model, Finding) else check_model(model, project, "fine-tuned")
    if reasons:
        return _blocked(SERVERLESS, reasons)
    after = up_if_open(tasks, project.id, role, f"{settings.subscription}/providers/{NETWORK}")
    return Way(backend=SERVERLESS, usable=True, after=after, models=[settings.model])
