"""Prompt flow's service: cloud runs of flows in a workspace or project, that are checked, taken, run and read.

Written from promptflow-azure's OpenAPI file and the recordings of the real service in microsoft/promptflow (a run with
lines that fail is Completed, and its history has the error; pages of lines go on until one is empty).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from tests.azure.emulator.data_plane import DataPlane
from tests.azure.emulator.flow_folders import FlowFolders, map_row
from tests.azure.emulator.jobs import Job, Jobs
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import WORKSPACES

JOB_TYPE = "PromptFlow"
_BASE = f"/flow/api{WORKSPACES}/{{workspace}}"
_STAGES = ("NotStarted", "Preparing", "Running", "Completed")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")
_MEMBERS = frozenset(
    {
        "flowDefinitionDataStoreName", "flowDefinitionBlobPath", "flowDefinitionDataUri", "runId", "runDisplayName",
        "runExperimentName", "nodeVariant", "variantRunId", "sessionId", "sessionSetupMode", "flowLineageId",
        "description", "tags", "runDisplayNameGenerationType", "batchDataInput", "inputsMapping",
        "environmentVariables", "initKWargs", "disableTrace", "connections", "runtimeName", "vmSize", "identity",
        "computeName", "enableMultiContainer",
    }
)  # fmt: skip
AnswerLine = Callable[[dict[str, Any]], dict[str, Any]]


class PromptFlowService:
    """Every workspace's cloud runs, which share the run history with its jobs.

    ``answer_line`` is what flows answer to their inputs; a line for which it raises fails.
    """

    def __init__(self, data_plane: DataPlane, folders: FlowFolders, jobs: Jobs, answer_line: AnswerLine) -> None:
        self._data_plane, self._folders, self._jobs = data_plane, folders, jobs
        self.answer_line = answer_line
        self._lines: dict[str, list[dict[str, Any]]] = {}

    def add_routes(self, router: Router) -> None:
        """Register runs, their lines, and what the client asks of traces."""
        add = self._data_plane.add
        add(router, "GET", f"{_BASE}/TraceSessions", self._traces)
        add(router, "POST", f"{_BASE}/BulkRuns/submit", self._submit, as_method="PUT")
        add(router, "GET", f"{_BASE}/BulkRuns/{{name}}", self._info)
        add(router, "GET", f"{_BASE}/BulkRuns/{{name}}/childRuns", self._child_runs)

    def _traces(self, request: Request, workspace: str) -> Reply:
        return Reply(200, {"traceCosmosConfiguration": "None", "traceCosmosStatus": "Initialized", "resourceType": 1})

    def _submit(self, request: Request, workspace: str) -> Reply:
        body = parse_json_object(request)
        name = str(body.get("runId"))
        self._check_body(workspace, body, name)
        store, path = body.get("flowDefinitionDataStoreName"), body.get("flowDefinitionBlobPath")
        flow = self._folders.read(workspace, f"azureml://datastores/{store}/paths/{path}")
        rows = self._folders.read_lines(workspace, (body.get("batchDataInput") or {}).get("dataUri") or "")
        mapping = body.get("inputsMapping") or {}
        self._folders.check_mapping(flow, mapping, rows)
        self._folders.check_connections(workspace, flow)
        job = Job(f"{workspace}/jobs/{name}", _properties(body), _STAGES)
        self._lines[job.id.lower()] = [map_row(mapping, row) for row in rows]
        self._jobs.add(job)
        return Reply(200, name)

    def _check_body(self, workspace: str, body: dict[str, Any], name: str) -> None:
        unknown = sorted(set(body) - _MEMBERS)
        if unknown:
            raise _user_error(400, f"Could not find member '{unknown[0]}' on object of type 'SubmitBulkRunRequest'.")
        if not _NAME.fullmatch(name):
            raise _user_error(400, f"The run id '{name}' is not valid: it must match {_NAME.pattern}.")
        if self._jobs.find(workspace, name):
            raise _user_error(409, f"The run id {name} exists already.")
        texts = ("inputsMapping", "environmentVariables", "tags")
        if any(not isinstance(value, str) for member in texts for value in (body.get(member) or {}).values()):
            raise _user_error(400, f"The members of {', '.join(texts)} must be texts.")
        if body.get("runtimeName") != "automatic":
            raise _user_error(400, f"There is no runtime {body.get('runtimeName')!r}.")

    def _need(self, workspace: str, name: str) -> Job:
        job = self._jobs.find(workspace, name)
        if job is None or job.properties["jobType"] != JOB_TYPE:
            raise _user_error(404, f"Run {name} not found.")
        return job

    def _info(self, request: Request, workspace: str, name: str) -> Reply:
        job = self._need(workspace, name)
        page = f"https://ai.azure.com/projectflows/trace/run/{name}/details?wsid={workspace}"
        return Reply(200, {"flowRunId": job.name, "studioPortalEndpoint": page, "studioPortalTraceEndpoint": page})

    def _child_runs(self, request: Request, workspace: str, name: str) -> Reply:
        job = self._need(workspace, name)
        if job.status != "Completed":
            return Reply(200, [])
        first, last = int(request.query["startIndex"]), int(request.query["endIndex"])
        lines = list(enumerate(self._lines[job.id.lower()]))[first : last + 1]
        return Reply(200, [self._execute(job, number, inputs) for number, inputs in lines])

    def _execute(self, job: Job, number: int, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return a line's record, as promptflow's executor writes it."""
        output, error = None, None
        try:
            output = {**self.answer_line(inputs), "line_number": number}
        except Exception as raised:
            error = _failure(raised)
        started = job.times["Running"]
        metrics = {"duration": 0.25, "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
        return {
            "run_id": f"{job.name}_{number}",
            "status": "Failed" if error else "Completed",
            "error": error,
            "inputs": {**inputs, "line_number": number},
            "output": output,
            "metrics": None,
            "request": None,
            "parent_run_id": job.name,
            "root_run_id": job.name,
            "source_run_id": None,
            "flow_id": "default_flow_id",
            "start_time": started.isoformat(),
            "end_time": (started + timedelta(seconds=0.25)).isoformat(),
            "index": number,
            "api_calls": [],
            "name": "",
            "description": "",
            "tags": None,
            "system_metrics": metrics,
            "result": output,
            "upload_metrics": False,
        }


def _properties(body: dict[str, Any]) -> dict[str, Any]:
    """Return a run's properties, as its history shows them."""
    prefix = "azureml.promptflow"
    return {
        "jobType": JOB_TYPE,
        "displayName": body.get("runDisplayName"),
        "experimentName": body.get("runExperimentName"),
        "description": body.get("description"),
        "tags": body.get("tags") or {},
        "properties": {
            f"{prefix}.input_data": body["batchDataInput"]["dataUri"],
            f"{prefix}.definition_file_name": body["flowDefinitionBlobPath"].rpartition("/")[2],
            f"{prefix}.flow_definition_datastore_name": body["flowDefinitionDataStoreName"],
            f"{prefix}.flow_definition_blob_path": body["flowDefinitionBlobPath"],
        },
    }


def _failure(raised: Exception) -> dict[str, Any]:
    kind, message = type(raised).__name__, str(raised)
    details = {"type": kind, "message": message, "traceback": "", "filename": "chat.py", "lineno": 1, "name": "chat"}
    return {
        "message": f"Execution failure in 'chat': ({kind}) {message}",
        "messageFormat": "Execution failure in '{node_name}'.",
        "messageParameters": {"node_name": "chat"},
        "referenceCode": "Tool/__pf_main__",
        "code": "UserError",
        "innerError": {"code": "ToolExecutionError", "innerError": None},
        "additionalInfo": [{"type": "ToolExecutionErrorDetails", "info": details}],
    }


def _user_error(status: int, message: str) -> ServiceError:
    return ServiceError(status, "UserError", message)
