"""Fine-tuning jobs of an account: made, listed, followed, cancelled, paused, and deleted with what they left."""

from __future__ import annotations

import uuid
from typing import Any

from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.openai.deployments import Deployments
from tests.azure.emulator.openai.entrance import Entrance
from tests.azure.emulator.openai.files import File, Files
from tests.azure.emulator.openai.job_progress import ENDED, Job, JobProgress
from tests.azure.emulator.openai.job_rules import JobRules, over_quota
from tests.azure.emulator.openai.listing import listed, wait_headers
from tests.azure.emulator.openai.refusals import DataPlaneError, not_found
from tests.azure.emulator.openai.tuned_models import TunedModels
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import World

_MOST_JOBS, _MOST_WAITING = 100, 20
_READ, _WRITE, _DELETE = (f"fine-tunes/{verb}" for verb in ("read", "write", "delete"))


class FineTuningJobs:
    """The jobs of all accounts; ``of`` is for tests."""

    def __init__(
        self, world: World, entrance: Entrance, files: Files, models: TunedModels, deployments: Deployments
    ) -> None:
        self._world, self._entrance, self._models, self._deployments = world, entrance, models, deployments
        self._rules = JobRules(world, files, models)
        self._progress = JobProgress(world, files, models)
        self._jobs: dict[str, Job] = {}
        files.in_use = self._reads

    def add_routes(self, router: Router) -> None:
        """Register jobs, their events and checkpoints, and what may be done to them."""
        entrance, jobs, job = self._entrance, "/fine_tuning/jobs", "/fine_tuning/jobs/{job}"
        entrance.add(router, "GET", jobs, self._list, action=_READ)
        entrance.add(router, "POST", jobs, self._create, action=_WRITE)
        entrance.add(router, "GET", job, self._get, action=_READ)
        entrance.add(router, "DELETE", job, self._delete, action=_DELETE)
        entrance.add(router, "GET", f"{job}/events", self._events, action=_READ)
        entrance.add(router, "GET", f"{job}/checkpoints", self._checkpoints, action=_READ)
        entrance.add(router, "POST", f"{job}/cancel", self._cancel, action=_WRITE)
        entrance.add(router, "POST", f"{job}/pause", self._pause, action=_WRITE)
        entrance.add(router, "POST", f"{job}/resume", self._resume, action=_WRITE)

    def of(self, account_id: str) -> list[Job]:
        """Return an account's jobs, newest first."""
        return [job for job in reversed(self._jobs.values()) if job.account_id == account_id]

    def _reads(self, file: File) -> bool:
        unfinished = [job.settings for job in self.of(file.account_id) if job.status not in ENDED]
        return any(file in (settings.training_file, settings.validation_file) for settings in unfinished)

    def _need(self, account: dict[str, Any], job_id: str) -> Job:
        job = self._jobs.get(job_id)
        if job is None or job.account_id != account["id"]:
            raise not_found(f"Fine-tuning job with id '{job_id}' not found.")
        return job

    def _list(self, request: Request, account: dict[str, Any]) -> Reply:
        return listed(request, [job.described for job in self.of(account["id"])])

    def _create(self, request: Request, account: dict[str, Any]) -> Reply:
        job = Job(account["id"], self._rules.read(account, request.json))
        jobs = self.of(account["id"])
        if len(jobs) >= _MOST_JOBS:
            raise over_quota(f"The resource has {len(jobs)} fine-tuning jobs, which is the most that it may have.")
        unfinished = sum(other.status not in ENDED for other in jobs)
        most = job.n_running_at_once + _MOST_WAITING
        if unfinished >= most:
            raise over_quota(f"The resource has {unfinished} fine-tuning jobs that have not ended; the most is {most}.")
        self._jobs[job.id] = job
        job.tell("Job enqueued. Waiting for jobs ahead to complete.")
        return Reply(201, job.described)

    def _get(self, request: Request, account: dict[str, Any], job: str) -> Reply:
        asked = self._need(account, job)
        described = asked.described
        self._progress.advance(asked, self.of(account["id"]))
        return Reply(200, described, wait_headers(self._world))

    def _events(self, request: Request, account: dict[str, Any], job: str) -> Reply:
        return listed(request, self._need(account, job).events[::-1])

    def _checkpoints(self, request: Request, account: dict[str, Any], job: str) -> Reply:
        asked = self._need(account, job)
        rows = [
            {
                "object": "fine_tuning.job.checkpoint",
                "id": f"ftchkpt-{uuid.uuid5(uuid.NAMESPACE_URL, asked.checkpoint_name(step)).hex}",
                "created_at": asked.created_at,
                "fine_tuned_model_checkpoint": asked.checkpoint_name(step),
                "fine_tuning_job_id": asked.id,
                "step_number": step,
                "metrics": asked.measures.metrics(step) if asked.measures else {},
            }
            for step in reversed(asked.kept_steps)
        ]
        return listed(request, rows, page=10)

    def _cancel(self, request: Request, account: dict[str, Any], job: str) -> Reply:
        cancelled = self._need(account, job)
        self._check_state(cancelled, "Cancel", is_right=cancelled.status not in ENDED)
        cancelled.tell("Job cancelled.")
        cancelled.end("cancelled")
        return Reply(200, cancelled.described)

    def _pause(self, request: Request, account: dict[str, Any], job: str) -> Reply:
        paused = self._need(account, job)
        self._check_state(paused, "Pause", is_right=paused.status == "running")
        paused.status = "paused"
        paused.tell("Job paused.")
        return Reply(200, paused.described)

    def _resume(self, request: Request, account: dict[str, Any], job: str) -> Reply:
        resumed = self._need(account, job)
        self._check_state(resumed, "Resume", is_right=resumed.status == "paused")
        resumed.status = "queued"
        resumed.tell("Job resumed.")
        return Reply(200, resumed.described)

    def _check_state(self, job: Job, what: str, *, is_right: bool) -> None:
        """Raise DataPlaneError 400 in a state that does not fit. The text is a guess."""
        if not is_right:
            message = f"The operation '{what}' is not allowed on a fine-tuning job in state '{job.status}'."
            raise DataPlaneError(400, "unexpectedEntityState", message)

    def _delete(self, request: Request, account: dict[str, Any], job: str) -> Reply:
        deleted = self._need(account, job)
        self._check_state(deleted, "Delete", is_right=deleted.status in ENDED)
        if deleted.model and deleted.model in self._models.of(account["id"]):
            self._deployments.check_unused(deleted.model)
            self._models.remove(deleted.model)
        del self._jobs[deleted.id]
        return Reply(204)
