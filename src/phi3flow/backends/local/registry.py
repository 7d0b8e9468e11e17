"""The MLflow registry: a fine-tuned model as a version, with its weights or its adapter in safetensors."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phi3flow.backends.local import BACKEND
from phi3flow.backends.local.jobs import find_completed, need_record
from phi3flow.errors import ConfigError, MissingExtraError
from phi3flow.project.state import BackendState, ModelState
from phi3flow.storage.jsonl import file_sha256
from phi3flow.tracking.fine_tunes import tracked_run
from phi3flow.tracking.store import store

TASK = "llm/v1/chat"
WEIGHTS_TAG = "phi3flow.weights_sha256"
FLOW_TAG = "flow_version"
_LIBRARIES = ("torch", "transformers")
"""What the registered model needs, in the versions of this environment."""


def register_model(job: str | None, *, name: str | None, flow_version: str | None, state: BackendState) -> ModelState:
    """Register a job's model (the latest job's without a name) and return its version.

    ``name`` is the registered model's, by default the output folder's. Weights that are registered under the name
    already keep their version. ``flow_version`` becomes a tag. Raises ConfigError where the job's output is gone,
    BackendError where MLflow fails.
    """
    completed = find_completed(job, state)
    folder = Path(str(completed.output))
    need_record(completed.name, folder)
    model_name = name or folder.name
    tags = {WEIGHTS_TAG: _hash_weights(folder), **({FLOW_TAG: flow_version} if flow_version else {})}
    number = _find_version(model_name, tags[WEIGHTS_TAG]) or _log_model(completed.name, folder, model_name, tags)
    model = ModelState(
        backend=BACKEND, name=model_name, version=number, source=str(folder), created_at=datetime.now(UTC)
    )
    state.note_model(model)
    return model


def need_version(name: str, version: str, *, state: BackendState) -> None:
    """Raise ConfigError for a version of a model that is neither in the registry nor noted."""
    numbers = _versions(name)
    if version not in numbers and (name, version) not in [(model.name, model.version) for model in state.models()]:
        versions = f"it has {', '.join(numbers)} of it" if numbers else "nor any other version"
        raise ConfigError(f"the registry has no model {name}:{version}; {versions}")


def delete_version(name: str, version: str, *, state: BackendState) -> None:
    """Delete a version of a model from the registry where it is there, and forget it.

    The folder that it was registered from stays.
    """
    if version in _versions(name):
        with store() as mlflow:
            mlflow.MlflowClient().delete_model_version(name, version)
    state.forget_model(name, version)


def _versions(name: str) -> list[str]:
    with store() as mlflow:
        records = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
        return [str(record.version) for record in records]


def _find_version(name: str, weights: str) -> str | None:
    with store() as mlflow:
        versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
        return next((str(version.version) for version in versions if version.tags.get(WEIGHTS_TAG) == weights), None)


def _log_model(job: str, folder: Path, name: str, tags: dict[str, str]) -> str:
    """Log the model into the job's run as a transformers pipeline, which is what the registry can load again."""
    pipeline, options = _load_pipeline(folder)
    with tracked_run(job) as run, store() as mlflow:
        mlflow.start_run(run_id=run.run_id)
        try:
            logged = mlflow.transformers.log_model(
                pipeline,
                name="model",
                task=TASK,
                pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _LIBRARIES],
                **options,
            )
        finally:
            mlflow.end_run()
        client = mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        registered = client.create_model_version(
            name, logged.model_uri, run.run_id, tags=tags, model_id=logged.model_id
        )
    return str(registered.version)


def _load_pipeline(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Return the model as a pipeline object, and what MLflow must know besides; an adapter keeps its base's path."""
    try:
        from peft import AutoPeftModelForCausalLM
        from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

        from phi3flow.training.weights import quieten_libraries
    except ImportError as error:
        raise MissingExtraError("local", error) from error
    quieten_libraries()
    model: Any
    options: dict[str, Any] = {}
    if (folder / "adapter_config.json").is_file():
        model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False)
        options["base_model_path"] = model.peft_config["default"].base_model_name_or_path
    else:
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=False)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left", trust_remote_code=False)
    return pipeline("text-generation", model=model, tokenizer=tokenizer), options


def _hash_weights(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(file_sha256(path).encode())
    return digest.hexdigest()
