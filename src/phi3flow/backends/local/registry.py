"""The MLflow registry: a fine-tuned model as a version, with its weights or its adapter in safetensors."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from phi3flow.backends.local.jobs import BACKEND, find_job
from phi3flow.errors import ConfigError, MissingExtraError
from phi3flow.project import state
from phi3flow.project.paths import STATE_FILE
from phi3flow.project.state import ModelState
from phi3flow.storage.jsonl import file_sha256
from phi3flow.tracking.fine_tunes import tracked_run
from phi3flow.tracking.store import store
from phi3flow.training import read_record

TASK = "llm/v1/chat"
WEIGHTS_TAG = "phi3flow.weights_sha256"


def register_model(job: str | None = None, *, name: str | None = None, state_path: Path = STATE_FILE) -> ModelState:
    """Register a job's model (the latest job's without a name) and return its version.

    ``name`` is the registered model's, by default the output folder's. Weights that are registered under the name
    already keep their version. Raises ConfigError where the job's output is gone, BackendError where MLflow fails.
    """
    chosen = find_job(job, state_path=state_path)
    folder = Path(str(chosen.output))
    if read_record(folder) is None:
        raise ConfigError(f"job {chosen.name}: its output {folder} holds no finished model any more; fine-tune again")
    registered = name or folder.name
    weights = _hash_weights(folder)
    number = _find_version(registered, weights) or _log_model(chosen.name, folder, registered, weights)
    model = ModelState(
        backend=BACKEND, name=registered, version=number, source=str(folder), created_at=datetime.now(UTC)
    )
    _remember(model, state_path)
    return model


def _find_version(name: str, weights: str) -> str | None:
    with store() as mlflow:
        versions = mlflow.MlflowClient().search_model_versions(f"name = '{name}'")
        return next((str(each.version) for each in versions if each.tags.get(WEIGHTS_TAG) == weights), None)


def _log_model(job: str, folder: Path, name: str, weights: str) -> str:
    """Log the model into the job's run as a transformers pipeline, which is what the registry can load again."""
    pipeline, options = _load_pipeline(folder)
    with tracked_run(job) as run, store() as mlflow:
        mlflow.start_run(run_id=run.run_id)
        try:
            logged = mlflow.transformers.log_model(
                pipeline,
                name="model",
                task=TASK,
                pip_requirements=[f"{each}=={version(each).partition('+')[0]}" for each in ("torch", "transformers")],
                **options,
            )
        finally:
            mlflow.end_run()
        client = mlflow.MlflowClient()
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        made = client.create_model_version(
            name, logged.model_uri, run.run_id, tags={WEIGHTS_TAG: weights}, model_id=logged.model_id
        )
    return str(made.version)


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
        model = AutoPeftModelForCausalLM.from_pretrained(folder, dtype="auto")
        options["base_model_path"] = model.peft_config["default"].base_model_name_or_path
    else:
        model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    return pipeline("text-generation", model=model, tokenizer=tokenizer), options


def _hash_weights(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(file_sha256(path).encode())
    return digest.hexdigest()


def _remember(model: ModelState, path: Path) -> None:
    def change(before: state.ProjectState) -> state.ProjectState:
        same = (model.backend, model.name, model.version)
        others = [each for each in before.models if (each.backend, each.name, each.version) != same]
        return before.model_copy(update={"models": [*others, model]})

    state.update(change, path)
