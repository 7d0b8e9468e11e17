"""A fine-tune in the cloud: the catalog that it draws on, and the pipeline job that the catalog's component makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.catalog import Catalog, CatalogAsset
from phi3flow.azure.workspace.sdk import refusals
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.backend import FineTuneRequest
from phi3flow.backends.job_names import job_tags, name_job
from phi3flow.errors import ConfigError

if TYPE_CHECKING:
    from azure.ai.ml.entities import Component, Job, PipelineJob

OUTPUT = "trained_model"
_RENAMED = {"epochs": "num_train_epochs", "batch_size": "per_device_train_batch_size"}


class JobDraft(Protocol):
    """A fine-tune ready to be submitted."""

    @property
    def name(self) -> str:
        """What its content calls it, so that the same command finds it again."""
        ...

    @property
    def model(self) -> CatalogAsset:
        """The model that is fine-tuned."""
        ...

    def make(self, name: str) -> Job:
        """Return the job under a name, after uploading what it needs besides its files."""
        ...


def check_compute(model: CatalogAsset, settings: AzureSettings) -> None:
    """Raise ConfigError where the model's tags do not allow fine-tunes on the settings' VM size."""
    if not model.allows(settings.fine_tune_size, "finetune"):
        raise ConfigError(
            f"model {model.name} is not fine-tuned on {settings.fine_tune_size}: it names "
            f"{', '.join(model.sizes('finetune'))}; set fine_tune_size in phi3flow.toml"
        )


def component_inputs(
    request: FineTuneRequest,
    model: CatalogAsset,
    component: CatalogAsset,
    settings: AzureSettings,
    data: Mapping[str, str],
) -> dict[str, Any]:
    """Return the component's inputs; ``data`` are the ids of the data assets, by split.

    What the request names wins over the model's own defaults (its tag model_specific_defaults), which win over the
    component's. Inputs that this version of the component does not have are left out of the defaults, and refused
    where they were asked for: ConfigError.
    """
    defaults = model.literal("model_specific_defaults", dict)
    requested = {
        **{_RENAMED.get(name, name): value for name, value in request.hyperparameters.items()},
        "number_of_gpu_to_use_finetuning": request.gpus,
        "num_nodes_finetune": request.nodes,
        "seed": request.seed,
        **_deepspeed(request),
    }
    names = component.inputs
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
        self.model, self._component, self._sdk = catalog.model(), catalog.component(), workspace.sdk
        check_compute(self.model, workspace.settings)
        self._inputs = component_inputs(request, self.model, self._component, workspace.settings, data)
        self._tags = job_tags(request, self.model, recipe="catalog")

    @property
    def name(self) -> str:
        """Named after the model and all that decides the result."""
        return name_job(self.model.name, {**self._inputs, "component": self._component.id})

    def make(self, name: str) -> PipelineJob:
        """Return the job; it needs nothing else."""
        reference = {"name": self._component.name, "version": self._component.version}
        with refusals(f"component {self._component.name} of the registry"):
            component: Component = self._sdk.registry.components.get(**reference)
            return build_pipeline(name, self._inputs, component, self._tags)


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


def _deepspeed(request: FineTuneRequest) -> dict[str, str]:
    """Stage 2 shards optimiser and gradients, 3 the weights too."""
    if request.deepspeed_stage is None:
        return {}
    return {"apply_deepspeed": "true", "deepspeed_stage": str(request.deepspeed_stage)}


def _text(value: Any) -> Any:
    """Booleans are the strings "true" and "false" to the component."""
    return str(value).lower() if isinstance(value, bool) else value
