"""What a fine-tuning job logs as it runs: losses that fall, evaluation by epoch, and the learning rate."""

from __future__ import annotations

import math
from typing import Any

from tests.azure.emulator.fine_tuning_rules import FINE_TUNING_JOB
from tests.azure.emulator.jobs import Job
from tests.azure.emulator.pipeline_rules import FINE_TUNING

FINE_TUNING_STEP = "chat_completion_finetune"
_STEPS_PER_EPOCH = 10


def metrics(job: Job) -> list[dict[str, Any]]:
    """Return what a job or step has logged so far, in MLflow's form: key, value, step and timestamp.

    Like the pipeline's own step, it logs to the pipeline job as well.
    """
    found = _fine_tuning(job)
    if found is None:
        return []
    total = int(found["num_train_epochs"]) * _STEPS_PER_EPOCH
    started = int(job.root.times.get("Running", job.root.times["NotStarted"]).timestamp() * 1000)
    rows = []
    for step in range(1, math.floor(total * job.root.progress) + 1):
        loss = 0.6 + 1.4 * math.exp(-3 * step / total)
        values = {
            "train_loss": loss,
            "learning_rate": _learning_rate(found, step / total),
            "epoch": step / _STEPS_PER_EPOCH,
        }
        if step % _STEPS_PER_EPOCH == 0:
            values["eval_loss"] = loss + 0.05
        time = started + step * 1000
        rows += [{"key": key, "value": value, "step": step, "timestamp": time} for key, value in values.items()]
    return rows


def artifacts(job: Job, path: str) -> list[dict[str, Any]]:
    """Return what a serverless fine-tuning job has kept so far in a folder: a checkpoint after each epoch."""
    if job.properties["jobType"] != FINE_TUNING_JOB:
        return []
    steps = [row["step"] for row in metrics(job) if row["key"] == "eval_loss"]
    folders = {"": ["checkpoints"] if steps else [], "checkpoints": [f"checkpoints/checkpoint-{at}" for at in steps]}
    return [{"path": folder, "is_dir": True} for folder in folders.get(path.strip("/"), [])]


def _fine_tuning(job: Job) -> dict[str, str] | None:
    """Return the inputs of the fine-tuning that logs to a job, None where none does."""
    root, named = job.root, job.properties.get("displayName")
    defaults = {"num_train_epochs": "1", "learning_rate": "2e-05", "lr_scheduler_type": "linear"}
    if job.properties["jobType"] == FINE_TUNING_JOB:
        return defaults | (job.properties["fineTuningDetails"].get("hyperParameters") or {})
    if job.parent and named != FINE_TUNING_STEP:
        return None
    for step in root.children:
        if step.properties["component"] == FINE_TUNING and (job is root or job in step.children):
            given = root.properties["jobs"][step.properties["displayName"]].get("inputs") or {}
            values = {name: str(each["value"]) for name, each in given.items() if "value" in each}
            return defaults | values
    return None


def _learning_rate(inputs: dict[str, str], done: float) -> float:
    start, kind = float(inputs["learning_rate"]), inputs["lr_scheduler_type"]
    if kind.startswith("constant"):
        return start
    return start * ((1 + math.cos(math.pi * done)) / 2 if kind.startswith("cosine") else 1 - done)
