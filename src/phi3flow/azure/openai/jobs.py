"""Fine-tuning jobs of an Azure OpenAI resource, followed to their end: states, events, metrics, and why one failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi3flow.azure.openai.refusals import explain
from phi3flow.azure.openai.service import OpenAIService
from phi3flow.azure.polling import Waits, poll
from phi3flow.azure.workspace.jobs import CANCELED, COMPLETED, ENDED, FAILED, JobProgress, OnJobProgress
from phi3flow.errors import AzureError, ConfigError

WAITS = Waits(first_s=1.0, longest_s=10.0)
"""Between looks: 10 s, as the tutorial has it, after a few quick ones."""
_ENDED = {"succeeded": COMPLETED, "failed": FAILED, "cancelled": CANCELED, "canceled": CANCELED}
"""Our word for each of the service's that ends a job; any other is shown as it is, and waited on."""
_FIRST_EVENTS = 5
"""Of those that a job has had before it is followed."""


class OpenAIJobs:
    """The jobs of a resource, with statuses as all backends have them."""

    def __init__(self, service: OpenAIService) -> None:
        self._service = service

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a job, None where there is none of the id."""
        return self._service.job(name)[0]

    def need(self, name: str) -> dict[str, Any]:
        """Return a job. Raises ConfigError where there is none of the id."""
        job = self.read(name)
        if job is None:
            raise self.missing(name)
        return job

    def status(self, name: str) -> str | None:
        """Return a job's status, None where there is none of the id."""
        job = self.read(name)
        return status_of(job) if job else None

    def missing(self, name: str) -> ConfigError:
        """Return the error that there is no job of an id, with those that there are."""
        jobs = self._service.jobs()
        there = ", ".join(f"{job['id']} ({status_of(job)})" for job in jobs[:10]) or "none at all"
        return ConfigError(f"there is no job {name} at {self._service.address.base_url}; there are {there}")

    def end(self, name: str) -> str:
        """Have a job end, wait until it has, and return its status. One that ends by itself meanwhile is no error."""
        if status_of(self.need(name)) not in ENDED:
            try:
                self._service.cancel(name)
            except AzureError:
                if status_of(self.need(name)) not in ENDED:
                    raise
        return self._wait(name, lambda _: None).status

    def follow(self, name: str, on_progress: OnJobProgress) -> JobProgress:
        """Report a job's state, events and metrics until it has ended. Raises AzureError with why it failed."""
        progress = self._wait(name, on_progress)
        if progress.status != COMPLETED:
            raise AzureError(self._explain(progress))
        return progress

    def _wait(self, name: str, on_progress: OnJobProgress) -> JobProgress:
        seen: set[str] = set()

        def look() -> tuple[JobProgress, float | None]:
            job, asked_wait_s = self._service.job(name)
            if job is None:
                raise self.missing(name)
            events = list(reversed(self._service.events(name)))
            fresh = [event for event in events if str(event.get("id")) not in seen]
            shown = fresh if seen else fresh[-_FIRST_EVENTS:]
            seen.update(str(event.get("id")) for event in events)
            news = tuple(str(event.get("message")) for event in shown)
            progress = JobProgress(name, status_of(job), metrics=_metrics(events), news=news)
            on_progress(progress)
            return progress, asked_wait_s

        return poll(look, until=lambda progress: progress.status in ENDED, waits=WAITS)

    def _explain(self, progress: JobProgress) -> str:
        if progress.status == CANCELED:
            return f"job {progress.name} was canceled"
        error = (self.read(progress.name) or {}).get("error") or {}
        reason = explain(None, str(error.get("code") or ""), str(error.get("message") or ""))
        return f"job {progress.name} failed: {reason}"


def status_of(job: Mapping[str, Any]) -> str:
    """Return a job's status, as all backends have it where the job has ended."""
    status = str(job.get("status"))
    return _ENDED.get(status.lower(), status)


def _metrics(events: list[dict[str, Any]]) -> dict[str, float]:
    """Return the numbers of the last event that has any."""
    for event in reversed(events):
        data = event.get("data")
        numbers = {
            str(name): float(value)
            for name, value in (data.items() if isinstance(data, Mapping) else ())
            if isinstance(value, int | float) and not isinstance(value, bool) and name != "step"
        }
        if numbers:
            return numbers
    return {}
