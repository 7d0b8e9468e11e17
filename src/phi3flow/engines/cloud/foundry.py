"""Prompt flow's service in an AI Foundry project: cloud runs of a flow over a file. It alone imports promptflow.azure.

promptflow.azure uploads and submits. It is not asked how a run fares, nor for its answers: it polls without trying
again, leaves out why lines failed, and its download sends the login's token without verifying whom it talks to.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ValidationError

from phi3flow.azure.arm import ML_VERSION, USER_AGENT
from phi3flow.azure.polling import JOB_WAITS, poll
from phi3flow.azure.settings import plain_region
from phi3flow.azure.workspace.connections import need_hosts
from phi3flow.azure.workspace.jobs import ENDED, JobProgress, OnJobProgress, ran_s
from phi3flow.azure.workspace.sdk import persistently
from phi3flow.azure.workspace.workspace import open_workspace
from phi3flow.engines.cloud.flow_upload import flow_to_upload
from phi3flow.engines.cloud.place import FlowWork, LineAnswer, line_outputs
from phi3flow.errors import AzureError, BackendError, ConfigError, MissingExtraError
from phi3flow.project.paths import PROJECT
from phi3flow.project.promptflow_home import without_telemetry
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.validation import first_problem
from phi3flow.runs.promptflow_runs import LineRun
from phi3flow.text import cut

PAGE = 25
"""Lines that the service is asked for at once, as its own pages do."""


class CloudFlowRuns:
    """The cloud runs of ``project``'s AI Foundry project."""

    max_retries: ClassVar[int] = 0
    """There the flow itself tries a request again."""
    refuses: ClassVar[tuple[str, ...]] = ("--workers", "--max-failures", "--max-retries")

    def __init__(self, project: Path = PROJECT) -> None:
        self._workspace = open_workspace(project)
        self._arm, self._settings = self._workspace.arm, self._workspace.settings
        self._project_id = self._settings.workspace_id(self._settings.project)

    @cached_property
    def _found(self) -> dict[str, Any] | None:
        return self._arm.get(self._project_id, ML_VERSION)

    @property
    def _host(self) -> str:
        """The data plane of the project's region."""
        region = str((self._found or {}).get("location") or self._workspace.location)
        return f"https://{plain_region(region)}.api.azureml.ms"

    @property
    def _history(self) -> str:
        return f"{self._host}/history/v1.0{self._project_id}"

    @property
    def _service(self) -> str:
        return f"{self._host}/flow/api{self._project_id}"

    def connections(self, names: Iterable[str]) -> dict[str, ConnectionUse]:
        """See Place."""
        name = self._settings.project
        return need_hosts(self._workspace, name, names, label=f"the AI Foundry project {name}", to="foundry")

    def status(self, name: str) -> str | None:
        """See Place."""
        run = self._read(name)
        return None if run is None else str(run.get("status"))

    def check(self, work: FlowWork) -> None:
        """See Place."""
        if self._found is None:
            raise ConfigError(f"there is no AI Foundry project {self._settings.project}: `phi3flow azure up` makes it")

    def cost(self, work: FlowWork) -> str:
        """See Place."""
        return f"a compute session of {self._settings.project}, billed as the VM that it runs on while it lasts"

    def submit(self, name: str, work: FlowWork) -> None:
        """See Place."""
        try:
            with flow_to_upload(work.flow) as folder:
                persistently(f"run {name}", lambda: self._submit(name, work, folder))
        except BackendError:
            if self._read(name) is None:  # else only the answer was lost, or the look at the new run failed
                raise

    def _submit(self, name: str, work: FlowWork, folder: Path) -> None:
        try:
            from promptflow.azure import PFClient
            from promptflow.azure.operations._run_operations import RunRequestException
            from promptflow.exceptions import PromptflowException
        except ImportError as error:
            raise MissingExtraError("azure", error) from error
        without_telemetry()
        settings = self._settings
        quiet = {"show_progress": False, "enable_telemetry": False, "user_agent": USER_AGENT}
        bounds = {"PF_LINE_TIMEOUT_SEC": f"{work.timeout_s:.0f}"}
        if work.concurrency:
            bounds["PF_WORKER_COUNT"] = str(work.concurrency)
        try:
            client = PFClient(
                self._arm.credential, settings.subscription_id, settings.resource_group, settings.project, **quiet
            )
            client.run(
                flow=str(folder),
                data=str(work.lines),
                column_mapping=dict(work.mapping),
                environment_variables={**bounds, **work.environment},
                name=name,
                display_name=name,
                tags=dict(work.tags),
            )
        except PromptflowException as error:
            raise AzureError(f"run {name}: {_reply(error)}") from error
        except (OSError, RunRequestException) as error:  # requests' errors are the former
            raise AzureError(f"run {name}: {cut(str(error), 400)}") from error

    def follow(self, name: str, on_progress: OnJobProgress) -> float:
        """See Place."""
        page = self._page(name)

        def look() -> tuple[dict[str, Any], None]:
            run = self._read(name)
            if run is None:
                raise ConfigError(f"there is no run {name} in the project {self._settings.project}")
            on_progress(JobProgress(name, str(run.get("status")), page))
            return run, None

        run = poll(look, until=lambda run: run.get("status") in ENDED, waits=JOB_WAITS)
        status = str(run.get("status"))
        if status != "Completed":
            log = f"; its log: {page}" if page else ""
            raise AzureError(f"run {name} {'failed' if status == 'Failed' else 'was canceled'}{_reason(run)}{log}")
        return ran_s(run)

    def answers(self, name: str) -> Iterator[LineAnswer]:
        """See Place."""
        start = 0
        while rows := self._lines(name, start):
            for row in rows:
                yield _answer(name, row)
            start += PAGE

    def _lines(self, name: str, start: int) -> list[dict[str, Any]]:
        url = f"{self._service}/BulkRuns/{name}/childRuns"
        rows: Any = self._arm.get_url(url, startIndex=str(start), endIndex=str(start + PAGE - 1))
        if not isinstance(rows, list):
            raise BackendError(f"run {name}: the project {self._settings.project} shows no lines of it")
        return rows

    def _read(self, name: str) -> dict[str, Any] | None:
        return self._arm.get_url(f"{self._history}/runs/{name}")

    def _page(self, name: str) -> str | None:
        run = self._arm.get_url(f"{self._service}/BulkRuns/{name}") or {}
        return run.get("studioPortalEndpoint")


def _answer(name: str, row: Mapping[str, Any]) -> LineAnswer:
    """Return what became of a line, of the record that promptflow keeps of it."""
    try:
        line = LineRun.model_validate(row)
    except ValidationError as error:
        problem = first_problem(error)
        raise BackendError(
            f"run {name}: a line's record is not understood: {problem.key}: {problem.message}"
        ) from error
    outputs = {**(line.output or {}), "line_number": row.get("index")}
    return LineAnswer(
        *line_outputs(f"run {name}", outputs), error=line.failure, latency_ms=line.latency_ms, usage=line.usage
    )


def _reply(error: Any) -> str:
    """Return what the service said, which promptflow wraps into a report on the request."""
    cause = getattr(error, "inner_exception", None) or error
    text = str(getattr(cause, "message", None) or cause)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return cut(lines[0], 400) if lines else type(cause).__name__


def _reason(run: Mapping[str, Any]) -> str:
    error = (run.get("error") or {}).get("error") or {}
    return f": {error['message']}" if error.get("message") else ""
