"""Jobs of a service as a project knows them: noted when they are submitted, and whenever they are looked at."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from phi3flow.azure.workspace.jobs import COMPLETED, ENDED, JobProgress, OnJobProgress
from phi3flow.errors import ConfigError
from phi3flow.project.state import BackendState, JobState

DELETED = "Deleted"
"""The status of a job that is not there any more."""
_OVER = ENDED | {DELETED}


class JobService(Protocol):
    """Where jobs run. Whatever the service says, jobs that have ended have one of the statuses ENDED.

    Every method raises ConfigError for a job that is not there, unless it says otherwise.
    """

    def status(self, name: str) -> str | None:
        """Return a job's status, None where there is none of the name."""
        ...

    def follow(self, name: str, on_progress: OnJobProgress) -> JobProgress:
        """Report where a job stands until it has ended. Raises BackendError with its own error where it failed."""
        ...

    def end(self, name: str) -> str:
        """Have a job end, wait until it has, and return its status."""
        ...

    def missing(self, name: str) -> ConfigError:
        """Return the error that there is no job of a name."""
        ...


class NotedJobs:
    """What a backend does with the jobs of a service; ``output_of`` says where a job's model is."""

    def __init__(self, state: BackendState, service: JobService, output_of: Callable[[str], str]) -> None:
        self._state, self._service, self._output_of = state, service, output_of

    def note(self, name: str, status: str, *, fingerprint: str | None = None) -> JobState:
        """Note how a job fares, and return it; ``fingerprint`` once, where it is submitted."""
        noted = next((job for job in self._state.jobs() if job.name == name), None)
        job = self._describe(name, status, noted)
        if fingerprint:
            job = job.model_copy(update={"fingerprint": fingerprint})
        self._state.note_job(job)
        return job

    def follow(self, name: str, on_progress: OnJobProgress) -> JobProgress:
        """Report where a job stands until it has ended, noting whenever that changes."""
        seen: str | None = None

        def note(progress: JobProgress) -> None:
            nonlocal seen
            if progress.status != seen:
                self.note(name, progress.status)
            seen = progress.status
            on_progress(progress)

        return self._service.follow(name, note)

    def running(self, name: str | None) -> str:
        """Return a job's name: the latest of the project that has not ended where none is given.

        One that was submitted from elsewhere is known by its name too. Raises ConfigError where there is none.
        """
        if name is not None:
            self.need_status(name)
            return name
        names = [noted.name for noted in self._state.jobs() if noted.status not in _OVER]
        if not names:
            raise ConfigError("no job that was submitted from here is under way: phi3flow cancel JOB names another")
        return names[-1]

    def cancel(self, name: str) -> JobState:
        """Have a job end, and wait until it has. Ctrl-C leaves it to the service, which goes on ending it."""
        status = self._service.end(name)
        if name in {noted.name for noted in self._state.jobs()}:
            return self.note(name, status)
        return self._describe(name, status, None)

    def need_status(self, name: str) -> str:
        """Return a job's status. Raises ConfigError where there is none of the name."""
        status = self._service.status(name)
        if status is None:
            raise self._service.missing(name)
        return status

    def need_completed(self, name: str | None) -> str:
        """Return the name of a job that has completed: the project's latest where none is given.

        Raises ConfigError for one that has not, and where there is none.
        """
        name = name or self._latest_completed()
        status = self.need_status(name)
        if status != COMPLETED:
            raise ConfigError(f"job {name} is {status}: only a completed job has a model")
        return name

    def look(self) -> None:
        """Ask how every unfinished job fares, and note it."""
        for job in self._state.jobs():
            if job.status not in _OVER:
                self.note(job.name, self._service.status(job.name) or DELETED)

    def _latest_completed(self) -> str:
        self.look()
        jobs = self._state.jobs()
        completed = [job.name for job in jobs if job.status == COMPLETED]
        if completed:
            return completed[-1]
        if jobs:
            raise ConfigError(
                f"no job that was submitted from here has completed: {jobs[-1].name} is {jobs[-1].status}"
            )
        backend = self._state.backend
        raise ConfigError(f"no job was submitted from here: register JOB, or `phi3flow fine-tune --backend {backend}`")

    def _describe(self, name: str, status: str, noted: JobState | None) -> JobState:
        return JobState(
            backend=self._state.backend,
            name=name,
            status=status,
            output=self._output_of(name),
            fingerprint=noted.fingerprint if noted else None,
            created_at=noted.created_at if noted else datetime.now(UTC),
        )
