"""phi3flow.toml: which subscription and region a project uses in Azure, and what its resources are called."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, model_validator

from phi3flow.errors import ConfigError
from phi3flow.project.environment import project_environment
from phi3flow.project.paths import PROJECT, SETTINGS_FILE
from phi3flow.records.record import Record
from phi3flow.records.validation import first_problem
from phi3flow.text import cut

_CLUSTER = "gpu-cluster"
_VARIABLES = {
    "subscription_id": "AZURE_SUBSCRIPTION_ID",
    "resource_group": "AZURE_RESOURCE_GROUP",
    "location": "AZURE_LOCATION",
    "workspace": "AZUREML_WORKSPACE_NAME",
    "hub": "AZUREAI_HUB_NAME",
    "project": "AZUREAI_PROJECT_NAME",
    "identity": "AZUREML_IDENTITY_NAME",
    "compute": "AZUREML_COMPUTE_NAME",
    "batch_compute": "AZUREML_BATCH_COMPUTE_NAME",
    "fine_tune_size": "AZUREML_FINE_TUNE_SIZE",
    "max_nodes": "AZUREML_MAX_NODES",
    "endpoint": "AZUREML_ENDPOINT_NAME",
    "deployment_size": "AZUREML_DEPLOYMENT_SIZE",
    "instances": "AZUREML_INSTANCES",
    "model": "AZUREML_MODEL_NAME",
    "openai_account": "AZURE_OPENAI_ACCOUNT",
    "openai_model": "AZURE_OPENAI_MODEL",
}
_WORKSPACE = r"^[A-Za-z0-9][A-Za-z0-9_-]{2,32}$"
_RULES = {
    _WORKSPACE: "3 to 33 letters, digits, '-' and '_', the first a letter or digit",
    (_IDENTITY := r"^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$"): "3 to 128 letters, digits, '-' and '_'",
    (_COMPUTE := r"^[A-Za-z](?!.*-\d+$)[A-Za-z0-9-]{2,23}$"): "3 to 24 letters, digits and '-', a letter first, and no "
    "'-' before a number at the end",
    (_ENDPOINT := r"^[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]$"): "3 to 32 letters, digits and '-', a letter first",
    (_STORAGE := r"^[a-z0-9]{3,24}$"): "3 to 24 small letters and digits",
    (_VAULT := r"^[A-Za-z](?:-?[A-Za-z0-9]){2,23}$"): "3 to 24 letters, digits and single '-', a letter first",
    (_REGISTRY := r"^[A-Za-z0-9]{5,50}$"): "5 to 50 letters and digits",
    (_ACCOUNT := r"^[A-Za-z0-9][A-Za-z0-9-]{0,62}[A-Za-z0-9]$"): "2 to 64 letters, digits and '-', no '-' at an end",
    (_GROUP := r"^[-\w.()]{1,90}(?<!\.)$"): "1 to 90 letters, digits, '-', '_', '.' and parentheses, no '.' at the end",
    (
        _UUID := r"^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"
    ): "a GUID, as `az account show --query id` prints",
    (_REGION := r"^[a-z0-9]+$"): "a region's name, such as eastus2",
    (_SIZE := r"^Standard_\w+$"): "a VM size, such as Standard_NC24ads_A100_v4",
}


class AzureSettings(Record):
    """A project's names in Azure; what is not given is derived from the workspace, and the same each time."""

    model_config = ConfigDict(regex_engine="python-re")

    subscription_id: str = Field(pattern=_UUID)
    resource_group: str = Field("phi3flow", pattern=_GROUP)
    location: str = Field("eastus2", pattern=_REGION)
    workspace: str = Field("phi3flow", pattern=_WORKSPACE)
    hub: str = Field(pattern=_WORKSPACE)
    project: str = Field(pattern=_WORKSPACE)
    identity: str = Field(pattern=_IDENTITY)
    compute: str = Field(_CLUSTER, pattern=_COMPUTE)
    batch_compute: str = Field(pattern=_COMPUTE)
    fine_tune_size: str = Field("Standard_NC24ads_A100_v4", pattern=_SIZE)
    max_nodes: int = Field(1, ge=1)
    endpoint: str = Field(pattern=_ENDPOINT)
    deployment_size: str = Field("Standard_NC24ads_A100_v4", pattern=_SIZE)
    instances: int = Field(1, ge=1)
    model: str = Field("Phi-4-mini-instruct", min_length=1)
    model_label: str = Field("latest", min_length=1)
    registry: str = Field("azureml", min_length=1)
    component: str = Field("chat_completion_pipeline", min_length=1)
    component_label: str = Field("latest", min_length=1)
    storage_account: str = Field(pattern=_STORAGE)
    key_vault: str = Field(pattern=_VAULT)
    container_registry: str = Field(pattern=_REGISTRY)
    application_insights: str = Field(pattern=_IDENTITY)
    log_analytics: str = Field(pattern=_IDENTITY)
    openai_account: str | None = Field(None, pattern=_ACCOUNT)
    openai_model: str | None = Field(None, min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Fill in the names that depend on others; those that must be unique in the world end in a hash."""
        location = plain_region(str(values.get("location", "eastus2")))
        workspace = str(values.get("workspace", "phi3flow"))
        scope = f"{values.get('subscription_id')}/{values.get('resource_group', 'phi3flow')}/{workspace}".lower()
        digest = hashlib.sha256(scope.encode()).hexdigest()
        word = re.sub(r"[^a-z0-9]", "", workspace.lower())[:12].lstrip("0123456789") or "phi3flow"
        unique = f"{word}{digest[:10]}"
        return {
            "hub": f"{workspace[:29]}-hub",
            "project": f"{workspace[:25]}-project",
            "identity": f"{workspace}-identity",
            "batch_compute": values.get("compute", _CLUSTER),
            "endpoint": f"{word}-{digest[:5]}",
            "storage_account": unique,
            "key_vault": unique,
            "container_registry": unique,
            "application_insights": f"{workspace}-insights",
            "log_analytics": f"{workspace}-logs",
            **values,
            "location": location,
        }

    @property
    def subscription(self) -> str:
        """The subscription's id in Azure Resource Manager."""
        return f"/subscriptions/{self.subscription_id}"

    @property
    def group(self) -> str:
        """The resource group's id."""
        return f"{self.subscription}/resourceGroups/{self.resource_group}"

    @property
    def az_workspace(self) -> str:
        """The flags that name the workspace to `az ml`."""
        return f"--resource-group {self.resource_group} --workspace-name {self.workspace}"

    def id_of(self, kind: str, name: str) -> str:
        """Return the id of a resource in the group, ``kind`` being such as Microsoft.Storage/storageAccounts."""
        return f"{self.group}/providers/{kind}/{name}"

    def workspace_id(self, name: str) -> str:
        """Return the id of a workspace, a hub or a project, which are one kind."""
        return self.id_of("Microsoft.MachineLearningServices/workspaces", name)


def plain_region(name: str) -> str:
    """Return a region's name as ids have it: eastus2 for East US 2, as some answers write it."""
    return re.sub(r"\s+", "", name).lower()


def load_settings(project: Path = PROJECT) -> AzureSettings:
    """Read ``project``/phi3flow.toml with the environment over it; the file may be missing.

    Raises ConfigError that names file or variable, key and value for what is unknown, missing or malformed.
    """
    file = project / SETTINGS_FILE
    table = _read(file)
    environment = project_environment(project)
    variables = {key: environment[name] for key, name in _VARIABLES.items() if environment.get(name)}
    try:
        return AzureSettings.model_validate({**table, **variables})
    except ValidationError as error:
        raise ConfigError(_explain(error, file, variables)) from None


def read_setting(project: Path, key: str) -> str | None:
    """Return one setting as the environment or the file has it, None where neither does; others may be missing.

    Raises ConfigError for a file that is malformed.
    """
    value = project_environment(project).get(_VARIABLES[key]) or _read(project / SETTINGS_FILE).get(key)
    return None if value is None else str(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from error
    for key, value in content.items():
        if key != "azure" or not isinstance(value, dict):
            raise ConfigError(f"{file}: {key}: is unknown; the settings stand in the table [azure]")
    table: dict[str, Any] = content.get("azure", {})
    return table


def _explain(error: ValidationError, file: Path, variables: Mapping[str, str]) -> str:
    problem = first_problem(error)
    key = str(problem.location[0])
    where = f"the environment variable {_VARIABLES[key]}" if key in variables else f"{file}: azure.{key}"
    if problem.kind == "missing":
        return (
            f"{file}: azure.{key} is missing: set it, or the environment variable {_VARIABLES.get(key, '')}; "
            "`phi3flow azure plan --help` shows a whole file"
        )
    if problem.kind == "extra_forbidden":
        keys = ", ".join(AzureSettings.model_fields)
        return f"{where}: is unknown; there are {keys}"
    value = str(problem.value)
    rule = _RULES.get(problem.context.get("pattern", ""), problem.message)
    return f"{where}: {cut(value, 80)!r} does not do: {rule}"
