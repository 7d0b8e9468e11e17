"""A fine-tune in the cloud: the catalog that it draws on, and the pipeline job that the catalog's component makes."""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from phi3flow.azure.preflight.retired_models import RETIRED_ON, replacement_of
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.sdk import refusals
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.backend import FineTuneRequest
from phi3flow.errors import AzureError, ConfigError
from phi3flow.storage.jsonl import file_sha256

if TYPE_CHECKING:
    from azure.ai.ml.entities import Component, Job, Model, PipelineJob

OUTPUT = "trained_model"
_RENAMED = {"epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size"}
_NEAR = 5


class JobDraft(Protocol):
    """A fine-tune ready to be submitted."""

    @property
    def name(self) -> str:
        """What its content calls it, so that the same command finds it again."""
        ...

    def make(self, name: str) -> Job:
        """Return the job under a name, after uploading what it needs besides its files."""
        ...


class Catalog:
    """The registry's models and components, by the label or version of the settings."""

    def __init__(self, workspace: Workspace) -> None:
        self._sdk, self._settings = workspace.sdk, workspace.settings

    def model(self) -> Model:
        """Return the settings' model. Raises ConfigError that lists near names where the registry has none."""
        name = self._settings.model
        try:
            with refusals(f"model {name} of the registry {self._settings.registry}"):
                model: Model = self._sdk.registry.models.get(name, **_version(self._settings.model_label))
        except AzureError as error:
            near = self._near(name) if error.status in (404, None) else []
            if not near:
                raise
            replacement = replacement_of(name)
            retired = f", which Azure retired on {RETIRED_ON} in favour of {replacement}" if replacement else ""
            raise ConfigError(
                f"the registry {self._settings.registry} has no model {name} ({self._settings.model_label}){retired}; "
                f"it has {', '.join(near)}: set model in phi3flow.toml, or --model"
            ) from error
        return model

    def component(self) -> Component:
        """Return the settings' fine-tuning component."""
        name = self._settings.component
        with refusals(f"component {name} of the registry {self._settings.registry}"):
            component: Component = self._sdk.registry.components.get(name, **_version(self._settings.component_label))
        return component

    def _near(self, name: str) -> list[str]:
        import difflib

        with refusals(f"models of the registry {self._settings.registry}"):
            names = sorted({str(model.name) for model in self._sdk.registry.models.list()})
        return difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.4) or names[:_NEAR]


def check_compute(model: Model, settings: AzureSettings) -> None:
    """Raise ConfigError where the model's tags do not allow fine-tunes on the settings' VM size."""
    allowed = [str(size) for size in _literal(model, "finetune_compute_allow_list", list)]
    if allowed and settings.fine_tune_size.lower() not in (size.lower() for size in allowed):
        raise ConfigError(
            f"model {model.name} is not fine-tuned on {settings.fine_tune_size}: it names {', '.join(allowed)}; set "
            "fine_tune_size in phi3flow.toml"
        )


def component_inputs(
    request: FineTuneRequest, model: Model, component: Component, settings: AzureSettings, data: Mapping[str, str]
) -> dict[str, Any]:
    """Return the component's inputs; ``data`` are the ids of the data assets, by split.

    What the request names wins over the model's own defaults (its tag model_specific_defaults), which win over the
    component's. Inputs that this version of the component does not have are left out of the defaults, and refused
    where they were asked for: ConfigError.
    """
    defaults = _literal(model, "model_specific_defaults", dict)
    requested = {
        **{_RENAMED.get(name, name): value for name, value in request.hyperparameters.items()},
        "number_of_gpu_to_use_finetuning": request.gpus,
        "num_nodes_finetune": request.nodes,
        "seed": request.seed,
        **_deepspeed(request),
    }
    names = set(component.inputs)
    unknown = sorted(set(requested) - names)
    if unknown:
        raise ConfigError(f"component {component.name} {component.version} has no input {', '.join(unknown)}")
    fixed = {
        "mlflow_model_path": model.id,
        "train_file_path": data["train"],
        "validation_file_path": data["validation"],
        **{name: settings.compute for name in names if name.startswith("compute_")},
    }
    lora = {"apply_lora": "true"} if "apply_lora" in names else {}
    inherited = {name: _text(value) for name, value in defaults.items() if name in names and name not in fixed}
    return {**lora, **inherited, **requested, **fixed}


class CatalogJob:
    """The pipeline job that a fine-tune by the catalog's component is; ``data`` are the data assets' ids, by split.

    Raises ConfigError for a model that the registry lacks or does not allow on the settings' VM size, and for an input
    that the component does not have.
    """

    def __init__(self, request: FineTuneRequest, data: Mapping[str, str], workspace: Workspace) -> None:
        catalog = Catalog(workspace)
        self._model, self._component = catalog.model(), catalog.component()
        check_compute(self._model, workspace.settings)
        self._inputs = component_inputs(request, self._model, self._component, workspace.settings, data)
        self._tags = job_tags(request, self._model, recipe="catalog")

    @property
    def name(self) -> str:
        """Named after the model and all that decides the result."""
        return name_job(str(self._model.name), {**self._inputs, "component": str(self._component.id)})

    def make(self, name: str) -> PipelineJob:
        """Return the job; it needs nothing else."""
        return build_pipeline(name, self._inputs, self._component, self._tags)


def name_job(model: str, decisive: Mapping[str, Any]) -> str:
    """Name a job after its model and everything that decides the result, so that the same command finds it again."""
    canonical = json.dumps(dict(decisive), sort_keys=True, default=str)
    slug = re.sub(r"[^A-Za-z0-9]+", "-", model).strip("-")[:40] or "phi3"
    return f"{slug}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"


def build_pipeline(name: str, inputs: Mapping[str, Any], component: Component, tags: Mapping[str, str]) -> PipelineJob:
    """Return the pipeline job: one node, the catalog's component, and its model as an output."""
    from azure.ai.ml import Input, dsl

    files = {"mlflow_model_path": "mlflow_model", "train_file_path": "uri_file", "validation_file_path": "uri_file"}
    arguments = {key: Input(type=files[key], path=value) if key in files else value for key, value in inputs.items()}

    @dsl.pipeline
    def fine_tune() -> dict[str, Any]:
        node = component(**arguments)
        return {OUTPUT: node.outputs.mlflow_model_folder}

    job: PipelineJob = fine_tune()
    job.name, job.display_name, job.experiment_name, job.tags = name, name, "phi3flow-fine-tune", dict(tags)
    return job


def job_tags(request: FineTuneRequest, model: Model, *, recipe: str) -> dict[str, str]:
    """Return what a job, and the model that it makes, tell of where they come from."""
    hashes = {f"{split}_sha256": file_sha256(path) for split, path in request.files.items()}
    return {**hashes, "base_model": f"{model.name}:{model.version}", "recipe": recipe, **TAGS}


def _deepspeed(request: FineTuneRequest) -> dict[str, str]:
    """Stage 2 shards optimiser and gradients, 3 the weights too."""
    if request.deepspeed_stage is None:
        return {}
    return {"apply_deepspeed": "true", "deepspeed_stage": str(request.deepspeed_stage)}


def _version(label: str) -> dict[str, str]:
    """A label such as latest, or a version's number."""
    return {"version": label} if re.fullmatch(r"[0-9][0-9.]*", label) else {"label": label}


def _literal(model: Model, tag: str, kind: type) -> Any:
    """Read a tag that holds a Python or JSON literal; what is none of the kind counts as absent."""
    try:
        value = ast.literal_eval((model.tags or {}).get(tag) or "None")
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = None
    return value if isinstance(value, kind) else kind()


def _text(value: Any) -> Any:
    """Booleans are the strings "true" and "false" to the component."""
    return str(value).lower() if isinstance(value, bool) else value
