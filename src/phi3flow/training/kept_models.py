"""Models that are trained once: what is unchanged is not trained again, and no two processes write the same folder.

A model folder's ``training.json`` holds the fingerprint of all that decided its weights.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType

from phi3flow.errors import ConfigError, MissingExtraError
from phi3flow.records.training import TrainingRecord
from phi3flow.storage.files import held_alone
from phi3flow.training import processes
from phi3flow.training.checkpoints import choose_checkpoint, latest_checkpoint, read_identity
from phi3flow.training.config import RECORD_FILE, BaseConfig, FineTuneConfig
from phi3flow.training.inputs import TrainingInputs, read_inputs
from phi3flow.training.progress import OnProgress, ignore_progress


def train_base(config: BaseConfig, *, on_progress: OnProgress = ignore_progress) -> Path:
    """Return the folder of the tiny base model, after training it where it is not kept yet.

    An interrupted training goes on where its last checkpoint stands.
    """
    with _alone(config.folder):
        if not (config.folder / RECORD_FILE).is_file():
            _recipes().make_base(config, on_progress=on_progress)
    return config.folder


def fine_tune(config: FineTuneConfig, *, on_progress: OnProgress = ignore_progress) -> TrainingRecord:
    """Fine-tune as ``config`` says, leave the model in its ``output`` and return the record of the training.

    Where ``output`` already holds what these inputs give, it is not trained again. Several processes may share a
    training of an adapter (see ``processes``): each calls this, the first one writes, all return the record. Raises
    DatasetError for a malformed file, ConfigError for a model that is none and for a resumption that cannot be,
    StorageError for a full disk; the checkpoints that were reached are kept.
    """
    inputs = read_inputs(config)
    if processes.count() > 1 and not config.model:
        raise ConfigError(f"{processes.count()} processes share a training of given weights only: give --model")
    with _alone(config.output) if processes.is_first() else nullcontext(), processes.joined():
        kept = processes.from_first(lambda: find_fine_tuned(config, inputs))
        if kept:
            return kept
        checkpoint = processes.from_first(lambda: _prepare(config, inputs))
        base = config.model or train_base(config.base, on_progress=on_progress)
        record: TrainingRecord = _recipes().make_fine_tuned(
            config, inputs, base=base, checkpoint=checkpoint, on_progress=on_progress
        )
    return record


def check_examples(config: FineTuneConfig, inputs: TrainingInputs) -> list[str]:
    """Say what of the files a training would leave out or cut, for whoever plans one; ``fine_tune`` only counts it.

    Raises DatasetError where that is too much (see ``left_out``).
    """
    try:
        from phi3flow.training.left_out import check
    except ImportError as error:
        raise MissingExtraError("local", error) from error
    return check(config, inputs)


def can_resume(config: FineTuneConfig) -> bool:
    """Tell whether a training with exactly these inputs has left a checkpoint, from which ``resume`` would go on."""
    latest = latest_checkpoint(config.checkpoints)
    return latest is not None and read_identity(latest) == read_inputs(config).identity


def find_fine_tuned(config: FineTuneConfig, inputs: TrainingInputs) -> TrainingRecord | None:
    """Return the record of the model that stands in ``config.output`` already and follows from the same inputs."""
    record = read_record(config.output)
    return record if record and record.parameters.get("fingerprint") == inputs.fingerprint else None


def read_record(folder: Path) -> TrainingRecord | None:
    """Return the record of the training that made a model folder, None where there is none that can be read."""
    try:
        return TrainingRecord.model_validate_json((folder / RECORD_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def _prepare(config: FineTuneConfig, inputs: TrainingInputs) -> Path | None:
    """Return the checkpoint to go on from, None to begin. Raises ConfigError where ``output`` is somebody else's."""
    if read_record(config.output) is None and config.output.exists() and any(config.output.iterdir()):
        raise ConfigError(f"--output {config.output} is not empty and was not made by a fine-tune: choose another")
    return choose_checkpoint(config.checkpoints, inputs.identity, resume=config.resume)


def _recipes() -> ModuleType:
    try:
        from phi3flow.training import recipes
    except ImportError as error:
        raise MissingExtraError("local", error) from error
    return recipes


def _alone(folder: Path) -> AbstractContextManager[None]:
    """Refuse a second process that would write the same model."""
    return held_alone(
        folder.with_name(f".{folder.name}.lock"),
        refusal=f"another process is training {folder}: wait until it is done, or stop it",
        remedy="choose another --output",
    )
