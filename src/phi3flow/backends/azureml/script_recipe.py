"""The training of ``fine-tune --backend local`` as a command job: the same code on the cluster, a process a GPU."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import phi3flow
from phi3flow.azure.arm import Arm
from phi3flow.azure.preflight.sizes import list_sizes
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.code_assets import ensure_code
from phi3flow.azure.workspace.environments import ensure_environment, environment_id
from phi3flow.azure.workspace.sdk import Sdk
from phi3flow.backends.azureml.fine_tuning import OUTPUT, Catalog, FineTune, job_tags, name_job
from phi3flow.errors import ConfigError
from phi3flow.training import fine_tune_config
from phi3flow.training.config import RECIPE_VERSION

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command, Model

RECIPE = "script"
OUTPUT_TYPE = "custom_model"
ENVIRONMENT = "phi3flow-training"
CONDA_FILE = Path(__file__).with_name("script_environment.yml")
ALWAYS_GIVEN = ("learning_rate", "lr_scheduler_type", "epochs", "batch_size", "max_seq_length")
"""Hyperparameters that the command gives even where they were not asked for, so that the job shows them."""
_VARIABLES = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false"}


class ScriptFineTune(FineTune):
    """A fine-tune by our own trainer: ``gpus`` processes on each of ``nodes``, an adapter merged into the weights."""


class ScriptJob:
    """The command job that a ScriptFineTune is; ``data`` are the ids of the data assets, by split.

    Raises ConfigError for a hyperparameter that the trainer does not take, and for more GPUs than a node has.
    """

    def __init__(
        self, asked: ScriptFineTune, data: Mapping[str, str], arm: Arm, sdk: Sdk, settings: AzureSettings
    ) -> None:
        self._asked, self._data = asked, data
        self._arm, self._sdk, self._settings = arm, sdk, settings
        self._command = command_line(asked)
        self._check_gpus()

    @cached_property
    def _model(self) -> Model:
        return Catalog(self._sdk, self._settings).model()

    @property
    def name(self) -> str:
        """Named after everything that decides the result: the code counts by its recipe's version."""
        decisive = {
            "model": self._model.id,
            **self._data,
            "command": self._command,
            "processes": (self._asked.gpus, self._asked.nodes),
            "environment": environment_id(self._settings, ENVIRONMENT, CONDA_FILE),
            "recipe": RECIPE_VERSION,
        }
        return name_job(str(self._model.name).lower(), decisive)  # as the SDK writes a command job's name

    def make(self, name: str) -> Command:
        """Return the job, after uploading our code and registering its environment where they are not there yet."""
        from azure.ai.ml import Input, Output, command

        asked, model = self._asked, self._model
        return command(
            name=name,
            display_name=name,
            experiment_name="phi3flow-fine-tune",
            tags=job_tags(asked, model, recipe=RECIPE),
            code=ensure_code(self._arm, self._settings, _read_package(), role="training"),
            command=self._command,
            environment=ensure_environment(self._arm, self._sdk, self._settings, ENVIRONMENT, CONDA_FILE),
            environment_variables=_VARIABLES,
            compute=self._settings.compute,
            inputs={
                "model": Input(type=model.type, path=model.id, mode="download"),
                **{split: Input(type="uri_file", path=asset) for split, asset in self._data.items()},
            },
            outputs={OUTPUT: Output(type=OUTPUT_TYPE)},
            instance_count=asked.nodes,
            distribution=self._distribution(),
        )

    def _distribution(self) -> Any:
        """A process for each GPU, which PyTorch's variables tell apart; none where there is only one."""
        from azure.ai.ml import PyTorchDistribution

        if self._asked.gpus * self._asked.nodes == 1:
            return None
        return PyTorchDistribution(process_count_per_instance=self._asked.gpus)

    def _check_gpus(self) -> None:
        size = list_sizes(self._arm, self._settings).get(self._settings.fine_tune_size.lower())
        if size and self._asked.gpus > size.gpus:
            raise ConfigError(
                f"--gpus {self._asked.gpus}: a {size.name} has {size.gpus}; set fine_tune_size in phi3flow.toml to a "
                "size with more, or --nodes"
            )


def command_line(asked: ScriptFineTune) -> str:
    """Return what each process runs in the folder of the code.

    It trains on the node's own disk, since a mounted output can neither be locked nor renamed; the first process
    copies the finished model there.
    """
    config = fine_tune_config(model=Path("model"), hyperparameters=dict(asked.hyperparameters), seed=asked.seed)
    hyperparameters = config.hyperparameters.model_dump()
    flags = {name: hyperparameters[name] for name in (*ALWAYS_GIVEN, *asked.hyperparameters)} | {"seed": asked.seed}
    files = " ".join(f"--{name} ${{{{inputs.{name}}}}}" for name in ("model", *asked.files))
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
    files = [each for each in sorted(package.rglob("*")) if each.is_file() and "__pycache__" not in each.parts]
    return {each.relative_to(package.parent).as_posix(): each.read_bytes() for each in files}
