"""A job of the workspace, followed to its end: its state and metrics as it runs, and why it failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.polling import JOB_WAITS, poll
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, ConfigError

COMPLETED, FAILED, CANCELED = "Completed", "Failed", "Canceled"
ENDED = frozenset({COMPLETED, FAILED, CANCELED})
_DEEPEST = 8
"""Steps of steps of a pipeline that are looked at."""
_CANCELING = "CancelRequested"


@dataclass(frozen=True)
class JobProgress:
    """Where a job stands; ``metrics`` are the last values that it logged, ``page`` shows it in a browser.

    ``news`` is what the service said of it since the last report, oldest first.
    """

    name: str
    status: str
    page: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    news: tuple[str, ...] = ()


OnJobProgress = Callable[[JobProgress], None]


class Jobs:
    """The jobs of a workspace, asked in a ``version`` of its API that knows their kind."""

    def __init__(self, workspace: Workspace, version: str = ML_VERSION) -> None:
        self._arm, self._workspace, self._place, self._version = workspace.arm, workspace.id, workspace, version

    def read(self, name: str) -> dict[str, Any] | None:
        """Return a job's properties, None where there is none of the name."""
        job = self._arm.get(self._id(name), self._version)
        return None if job is None else dict(job["properties"])

    def need(self, name: str) -> dict[str, Any]:
        """Return a job's properties. Raises ConfigError where there is none of the name."""
        properties = self.read(name)
        if properties is None:
            raise self.missing(name)
        return properties

    def status(self, name: str) -> str | None:
        """Return a job's status, None where there is none of the name."""
        properties = self.read(name)
        return None if properties is None else str(properties.get("status"))

    def missing(self, name: str) -> ConfigError:
        """Return the error that there is no job of a name."""
        return ConfigError(
            f"there is no job {name} in the workspace {self._place.settings.workspace}: `phi3flow status` lists those "
            "made here"
        )

    def cancel(self, name: str) -> str:
        """Have a job end, and return its status, which is CancelRequested until it has ended.

        One that has ended, or was canceled before, is left alone. Raises ConfigError where there is no such job.
        """
        status = str(self.need(name).get("status"))
        if status in ENDED or status == _CANCELING:
            return status
        self._arm.post(f"{self._id(name)}/cancel", self._version)
        return str(self.need(name).get("status"))

    def end(self, name: str) -> str:
        """Have a job end, wait until it has, and return its status. Raises ConfigError where there is no such job."""
        self.cancel(name)
        return self._wait(name, lambda _: None).status

    def follow(self, name: str, on_progress: OnJobProgress) -> JobProgress:
        """Report a job's state and metrics until it has ended, and return where it ended.

        A connection that breaks is tried again by the client; the job does not depend on it. Raises ConfigError where
        there is no such job, AzureError with the job's own error and where its logs are where it failed.
        """

        progress = self._wait(name, on_progress)
        if progress.status != COMPLETED:
            raise AzureError(self._explain(progress))
        return progress

    def _wait(self, name: str, on_progress: OnJobProgress) -> JobProgress:
        def look() -> tuple[JobProgress, float | None]:
            job, asked_wait_s = self._arm.look(self._id(name), self._version)
            if job is None:
                raise self.missing(name)
            progress = self._progress(name, job["properties"])
            on_progress(progress)
            return progress, asked_wait_s

        return poll(look, until=lambda progress: progress.status in ENDED, waits=JOB_WAITS)

    def metrics(self, name: str) -> dict[str, float]:
        """Return the last value of each metric that a job logged to MLflow; none where it logged none."""
        answer = self._arm.get_url(
            f"{self._data_plane}/mlflow/v1.0{self._workspace}/api/2.0/mlflow/runs/get", run_id=name
        )
        rows = ((answer or {}).get("run") or {}).get("data", {}).get("metrics") or []
        return {str(row["key"]): float(row["value"]) for row in rows}

    def metric_history(self, name: str, metric: str) -> list[tuple[int, float]]:
        """Return every value that a job logged of a metric, with its step."""
        answer = self._arm.get_url(
            f"{self._data_plane}/mlflow/v1.0{self._workspace}/api/2.0/mlflow/metrics/get-history",
            run_id=name,
            metric_key=metric,
        )
        return [(int(row.get("step") or 0), float(row["value"])) for row in (answer or {}).get("metrics") or []]

    def artifacts(self, name: str, folder: str) -> list[str]:
        """Return the names of what a job left in a folder of its artifacts; none where there is no such folder."""
        answer = self._arm.get_url(
            f"{self._data_plane}/mlflow/v1.0{self._workspace}/api/2.0/mlflow/artifacts/list", run_id=name, path=folder
        )
        return [str(row["path"]).rpartition("/")[2] for row in (answer or {}).get("files") or []]

    def started_at(self, name: str) -> datetime | None:
        """Return when a job began to run, as its run history tells; None where it does not."""
        started = self._history(name).get("startTimeUtc")
        return datetime.fromisoformat(started) if started else None

    def ran_s(self, name: str) -> float:
        """Return how many seconds a job ran, as its run history tells; 0 where it does not."""
        return ran_s(self._history(name))

    @property
    def _data_plane(self) -> str:
        return f"https://{self._place.location}.api.azureml.ms"

    def _failure(self, name: str) -> tuple[str, str]:
        """Return why a job failed and the run that failed: a pipeline only says that a step did, and its step why."""
        run, run_id, steps = self._history(name), name, list[str]()
        reason = _message(run)
        for _ in range(_DEEPEST):
            failed = self._failed_step(run_id)
            if failed is None:
                break
            run_id, reason = str(failed["runId"]), _message(failed) or reason
            steps.append(str(failed.get("displayName") or run_id))
        where = f"step {' > '.join(steps)}: " if steps else ""
        return f"{where}{reason or 'the run history gives no reason'}", run_id

    def _failed_step(self, name: str) -> dict[str, Any] | None:
        url = f"{self._data_plane}/history/v1.0{self._workspace}/runs/{name}/children"
        try:
            steps = [step for step in self._arm.list_url(url) if step.get("status") == "Failed"]
        except AzureError:
            return None  # the job's own error is told all the same
        return max(steps, key=lambda step: bool(_message(step)), default=None)

    def _history(self, name: str) -> dict[str, Any]:
        return self._arm.get_url(f"{self._data_plane}/history/v1.0{self._workspace}/runs/{name}") or {}

    def _progress(self, name: str, properties: dict[str, Any]) -> JobProgress:
        status = str(properties.get("status"))
        metrics = self.metrics(name) if status in ("Running", "Finalizing", "Completed") else {}
        services = properties.get("services") or {}
        page = (services.get("Studio") or {}).get("endpoint")
        return JobProgress(name, status, page, metrics)

    def _explain(self, progress: JobProgress) -> str:
        reason, run_id = self._failure(progress.name) if progress.status == "Failed" else ("", progress.name)
        log = f"its log: az ml job download --name {run_id} --all, then user_logs/std_log.txt"
        page = f", or {progress.page}" if progress.page else ""
        if progress.status == "Canceled":
            return f"job {progress.name} was canceled; {log}{page}"
        return f"job {progress.name} failed: {reason}; {log}{page}"

    def _id(self, name: str) -> str:
        return f"{self._workspace}/jobs/{name}"


def _message(run: Mapping[str, Any]) -> str:
    return str(((run.get("error") or {}).get("error") or {}).get("message") or "")


def ran_s(run: Mapping[str, Any]) -> float:
    """Return how many seconds lie between a run's start and end, 0 where its history lacks one."""
    started, ended = (run.get(key) for key in ("startTimeUtc", "endTimeUtc"))
    if not started or not ended:
        return 0.0
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
