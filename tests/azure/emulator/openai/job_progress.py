"""A fine-tuning job on its way: every look at it brings it nearer to its end, through the states that Azure shows."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.azure.emulator.openai.files import Files
from tests.azure.emulator.openai.job_rules import JobSettings
from tests.azure.emulator.openai.measures import Measures
from tests.azure.emulator.openai.training_data import find_problems
from tests.azure.emulator.openai.tuned_models import TunedModel, TunedModels
from tests.azure.emulator.world import World

ENDED = ("succeeded", "failed", "cancelled")
_MOST_RUNNING = {"developerTier": 5}
_USUAL_RUNNING = 3
_MOST_STEPS_TOLD = 10
_FEWEST_EXAMPLES = 10
"""Of training data; no document says so of the validation's."""


@dataclass
class Job:
    """A job as it stands: ``step`` is how far it has trained, ``events`` are oldest first."""

    account_id: str
    settings: JobSettings
    status: str = "pending"
    step: int = 0
    looks: int = 0
    measures: Measures | None = None
    error: dict[str, Any] | None = None
    results_id: str | None = None
    model: TunedModel | None = None
    finished_at: int | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    id: str = field(default_factory=lambda: f"ftjob-{uuid.uuid4().hex}")
    created_at: int = field(default_factory=lambda: int(time.time()))

    @property
    def model_name(self) -> str:
        """The name that its model will have: the job's own number and the suffix are in it."""
        end = f"-{self.settings.suffix}" if self.settings.suffix else ""
        return f"{self.settings.base.id}.ft-{self.id.removeprefix('ftjob-')}{end}"

    @property
    def n_running_at_once(self) -> int:
        """So many jobs of its training type run at once."""
        return _MOST_RUNNING.get(self.settings.training_type, _USUAL_RUNNING)

    @property
    def kept_steps(self) -> list[int]:
        """The steps of the checkpoints that there are so far."""
        return [step for step in self.measures.checkpoints if step <= self.step] if self.measures else []

    def checkpoint_name(self, step: int) -> str:
        """Return the model's name as it was after a step."""
        return f"{self.model_name}:ckpt-step-{step}"

    def tell(self, message: str, *, level: str = "info", metrics: dict[str, Any] | None = None) -> None:
        """Add an event."""
        kind = "metrics" if metrics else "message"
        event = {"object": "fine_tuning.job.event", "id": f"ftevent-{uuid.uuid4().hex}", "created_at": int(time.time())}
        self.events.append({**event, "level": level, "message": message, "type": kind, "data": metrics})

    def end(self, status: str, *, code: str = "", message: str = "") -> None:
        """Go to a state that it stays in."""
        self.status, self.finished_at = status, int(time.time())
        if code:
            self.error = {"code": code, "message": message}
            self.tell(message, level="error")

    @property
    def described(self) -> dict[str, Any]:
        """The job as Azure shows it: null where OpenAI has a text or a list, -1 for what is chosen automatically."""
        settings, values = self.settings, dict(self.settings.hyperparameters)
        is_running = self.status == "running"
        return {
            "object": "fine_tuning.job",
            "id": self.id,
            "status": self.status,
            "created_at": self.created_at,
            "finished_at": self.finished_at,
            "estimated_finish": self.created_at + 3600 if is_running else None,
            "model": settings.model,
            "fine_tuned_model": self.model.names[0] if self.model else None,
            "training_file": settings.training_file.id,
            "validation_file": settings.validation_file.id if settings.validation_file else None,
            "result_files": [self.results_id] if self.results_id else None,
            "organization_id": None,
            "trained_tokens": self.measures.tokens if self.measures and self.status == "succeeded" else None,
            "hyperparameters": {name: value for name, value in values.items() if name != "beta"},
            "method": {"type": settings.method, settings.method: {"hyperparameters": values}},
            "suffix": settings.suffix,
            "seed": settings.seed,
            "trainingType": settings.training_type,
            "metadata": settings.metadata,
            "integrations": None,
            "error": self.error,
        }


class JobProgress:
    """Moves jobs, with what the world makes of them."""

    def __init__(self, world: World, files: Files, models: TunedModels) -> None:
        self._world, self._files, self._models = world, files, models

    def advance(self, job: Job, others: Iterable[Job]) -> None:
        """Bring a job nearer to its end, after a look at it; ``others`` are all jobs of its account."""
        job.looks += 1
        if job.status in (*ENDED, "paused") or job.looks < self._world.openai_polls:
            return
        job.looks = 0
        if job.status == "running":
            self._train(job)
            return
        if job.status == "pending":
            self._validate(job)
            if job.status != "pending":
                return
        self._start(job, others)

    def _validate(self, job: Job) -> None:
        """Refuse data that does not do, else go to the state that no document names, where the world has one."""
        settings = job.settings
        most_tokens, content = self._world.openai_example_tokens, settings.training_file.content
        problems = find_problems(content, "training", most_tokens=most_tokens, fewest=_FEWEST_EXAMPLES)
        if settings.validation_file:
            problems += find_problems(settings.validation_file.content, "validation", most_tokens=most_tokens)
        if problems:
            message = f"Validation of jsonl file failed: {'; '.join(problems)}"
            job.end("failed", code="jsonlValidationFailed", message=message)
        elif self._world.openai_data_filtered:
            harms = ", ".join(sorted(self._world.openai_data_filtered))
            message = f"The provided training data failed RAI checks for harm types: [{harms}]. Please fix the data "
            job.end("failed", code="contentFilter", message=f"{message}and try again.")
        else:
            job.measures = Measures(settings)
            job.tell("Preprocessing completed for file training file.")
            if self._world.openai_strange_status:
                job.status = self._world.openai_strange_status

    def _start(self, job: Job, others: Iterable[Job]) -> None:
        alike = [other for other in others if other.n_running_at_once == job.n_running_at_once]
        if sum(other.status == "running" for other in alike) >= job.n_running_at_once:
            job.status = "queued"
            return
        job.status = "running"
        job.tell("Training started.")

    def _train(self, job: Job) -> None:
        assert job.measures
        if self._world.openai_job_failure:
            job.end("failed", code="internalFailure", message=self._world.openai_job_failure)
            return
        n_steps = job.measures.n_steps
        until = n_steps if job.step else max(1, n_steps // 2)
        stride = max(1, n_steps // _MOST_STEPS_TOLD)
        for step in range(job.step + 1, until + 1):
            if step % stride == 0 or step == n_steps:
                loss = job.measures.loss(step)
                metrics = {"step": step, "train_loss": loss, "total_steps": n_steps}
                job.tell(f"Step {step}: training loss={loss}", metrics=metrics)
        job.step = until
        if until == n_steps:
            self._succeed(job)

    def _succeed(self, job: Job) -> None:
        assert job.measures
        results = self._files.add_results(job.account_id, job.measures.results(self._world.openai_results_spelling))
        job.results_id = results.id
        job.model = TunedModel(
            account_id=job.account_id,
            names=(job.model_name, *map(job.checkpoint_name, job.measures.checkpoints)),
            base=job.settings.base,
            job_id=job.id,
            created_at=int(time.time()),
            harms=frozenset(self._world.openai_model_filtered),
        )
        self._models.add(job.model)
        job.tell(f"Completed results file: {results.id}")
        if job.model.harms:
            job.tell(job.model.refusal, level="error")
        else:
            job.tell("Model Evaluation Passed.")
        job.tell(f"Training tokens billed: {job.measures.tokens}")
        job.end("succeeded")
        job.tell("Job succeeded.")
