"""The training of ``fine-tune --backend local`` as a command job: the same code on the cluster, a process a GPU."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phi3flow
from phi3flow.azure.workspace.catalog import Catalog, CatalogAsset
from phi3flow.azure.workspace.code_assets import ensure_code
from phi3flow.azure.workspace.environments import ensure_environment, environment_id
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.backends.azureml.fine_tuning import OUTPUT
from phi3flow.backends.backend import FineTuneRequest
from phi3flow.backends.job_names import job_tags, name_job
from phi3flow.errors import ConfigError
from phi3flow.training import fine_tune_config
from phi3flow.training.config import RECIPE_VERSION

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command

RECIPE = "script"
OUTPUT_TYPE = "custom_model"
ENVIRONMENT = "phi3flow-training"
CONDA_FILE = Path(__file__).with_name("script_environment.yml")
ALWAYS_GIVEN = ("learning_rate", "lr_scheduler_type", "epochs", "batch_size", "max_seq_length")
"""Hyperparameters that the command gives even where the request leaves them out, so that the job shows them."""
_VARIABLES = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}


class ScriptJob:
    """The command job that a fine-tune by our own trainer is: a process a GPU, an adapter merged into the weights.

    ``data`` are the ids of the data assets, by split. Raises ConfigError for what the trainer does not take.
    """

    def __init__(self, request: FineTuneRequest, data: Mapping[str, str], workspace: Workspace) -> None:
        if request.deepspeed_stage:
            raise ConfigError(
                f"--deepspeed-stage {request.deepspeed_stage}: the script trains an adapter with the whole weights on "
                "every GPU; leave it out, or take --recipe catalog"
            )
        self._request, self._data, self._workspace = request, data, workspace
        self._command = command_line(request)

    @cached_property
    def model(self) -> CatalogAsset:
        """The model of the registry that is fine-tuned."""
        return Catalog(self._workspace).model()

    @property
    def name(self) -> str:
        """Named after everything that decides the result: the code counts by its recipe's version."""
        decisive = {
            "model": self.model.id,
            **self._data,
            "command": self._command,
            "processes": (self._request.gpus, self._request.nodes),
            "environment": environment_id(self._workspace, ENVIRONMENT, CONDA_FILE),
            "recipe": RECIPE_VERSION,
        }
        return name_job(self.model.name.lower(), decisive)  # as the SDK writes a command job's name

    def make(self, name: str) -> Command:
        """Return the job, after uploading our code and registering its environment where they are not there yet."""
        from azure.ai.ml import Input, Output, command

        request, model = self._request, self.model
        return command(
            name=name,
            display_name=name,
            experiment_name="phi3flow-fine-tune",
            tags=job_tags(request, model, recipe=RECIPE),
            code=ensure_code(self._workspace, _read_package(), role="training"),
            command=self._command,
            environment=ensure_environment(self._workspace, ENVIRONMENT, CONDA_FILE),
            environment_variables=_VARIABLES,
            compute=self._workspace.settings.compute,
            inputs={
                "model": Input(type=model.kind, path=model.id, mode="download"),
                **{split: Input(type="uri_file", path=asset) for split, asset in self._data.items()},
            },
            outputs={OUTPUT: Output(type=OUTPUT_TYPE)},
            instance_count=request.nodes,
            distribution=self._distribution(),
        )

    def _distribution(self) -> Any:
        """A process for each GPU, which PyTorch's variables tell apart; none where there is only one."""
        from azure.ai.ml import PyTorchDistribution

        if self._request.gpus * self._request.nodes == 1:
            return None
        return PyTorchDistribution(process_count_per_instance=self._request.gpus)


def command_line(request: FineTuneRequest) -> str:
    """Return what each process runs in the folder of the code.

    It trains on the node's own disk, since a mounted output can neither be locked nor renamed; the first process
    copies the finished model there.
    """
    config = fine_tune_config(model=Path("model"), hyperparameters=dict(request.hyperparameters), seed=request.seed)
    hyperparameters = config.hyperparameters.model_dump()
    flags = {name: hyperparameters[name] for name in (*ALWAYS_GIVEN, *request.hyperparameters)} | {"seed": request.seed}
    files = " ".join(f"--{name} ${{{{inputs.{name}}}}}" for name in ("model", *request.files))
    values = " ".join(f"--{name.replace('_', '-')} {shlex.quote(str(value))}" for name, value in flags.items())
    return "\n".join(
        [
            "set -e",
            f"python -m phi3flow.cli.main fine-tune --backend local {files} {values} --merge --output model",
            f'if [ "${{RANK:-0}}" = 0 ]; then cp -r model/. ${{{{outputs.{OUTPUT}}}}}; fi',
        ]
    )


def _read_package() -> dict[str, bytes]:
    """Return this package's files as it was installed, by their paths in the folder of the code."""
    package = Path(phi3flow.__file__).parent
    files = [file for file in sorted(package.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    return {file.relative_to(package.parent).as_posix(): file.read_bytes() for file in files}
