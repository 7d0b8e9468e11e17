"""A workspace's data plane: the history of runs with their logs and outputs, and their metrics as MLflow's REST."""

from __future__ import annotations

from typing import Any

from tests.azure.emulator.assets import Assets, paged
from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.data_plane import HOST, DataPlane
from tests.azure.emulator.job_metrics import artifacts, metrics
from tests.azure.emulator.jobs import ENDED, Job, Jobs
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import WORKSPACES
from tests.azure.emulator.world import CALLER, TENANT

_WORKSPACE = f"{WORKSPACES}/{{workspace}}"
_TYPES = {
    "uri_file": "UriFile",
    "uri_folder": "UriFolder",
    "mltable": "MLTable",
    "mlflow_model": "MLFlowModel",
    "custom_model": "CustomModel",
}
_MLFLOW = {"Completed": "FINISHED", "Failed": "FAILED", "Canceled": "KILLED", "NotStarted": "SCHEDULED"}


class JobHistory:
    """Run history, resolved outputs and MLflow tracking, for the jobs that ``Jobs`` keeps."""

    def __init__(self, data_plane: DataPlane, assets: Assets, blobs: Blobs, jobs: Jobs) -> None:
        self._data_plane, self._assets, self._blobs, self._jobs = data_plane, assets, blobs, jobs

    def add_routes(self, router: Router) -> None:
        """Register what azure-ai-ml and MLflow ask a workspace's own host."""
        router.add("GET", "/discovery", self._discover, host=HOST)
        add = self._data_plane.add
        runs = f"/history/v1.0{_WORKSPACE}"
        add(router, "GET", f"{runs}/runs/{{name}}", self._run)
        add(router, "GET", f"{runs}/runs/{{name}}/details", self._details)
        add(router, "GET", f"{runs}/runs/{{name}}/children", self._children)
        add(router, "POST", f"{runs}/rundata", self._run_data)
        add(router, "POST", f"/data/v1.0{_WORKSPACE}/dataversion/batchGetResolvedUris", self._data_uris)
        add(router, "POST", f"/modelregistry/v1.0{_WORKSPACE}/models/batchGetResolvedUris", self._model_uris)
        tracking = f"/mlflow/{{version}}{_WORKSPACE}/api/2.0/mlflow"
        add(router, "GET", f"{tracking}/runs/get", self._mlflow_run)
        add(router, "GET", f"{tracking}/metrics/get-history", self._mlflow_history)
        add(router, "GET", f"{tracking}/artifacts/list", self._mlflow_artifacts)

    def _discover(self, request: Request) -> Reply:
        names = ("api", "experimentation", "history", "modelmanagement", "pipelines", "studio", "catalog")
        return Reply(200, dict.fromkeys(names, f"https://{request.host}"))

    def _run(self, request: Request, workspace: str, name: str) -> Reply:
        return Reply(200, _described(self._jobs.look(workspace, name)))

    def _run_data(self, request: Request, workspace: str) -> Reply:
        job = self._jobs.look(workspace, str(parse_json_object(request).get("runId")))
        outputs = {name: _asset(name, output) for name, output in _ended_outputs(job).items()}
        return Reply(200, {"runMetadata": {**_described(job), "outputs": outputs}, "runDefinition": None})

    def _children(self, request: Request, workspace: str, name: str) -> Reply:
        job = self._jobs.look(workspace, name)
        return paged(request, [_described(child) for child in job.children])

    def _details(self, request: Request, workspace: str, name: str) -> Reply:
        job = self._jobs.look(workspace, name)
        row = _described(job)
        kept = ("runId", "status", "parentRunId", "startTimeUtc", "endTimeUtc", "error", "tags", "properties")
        log = self._write_log(job)
        return Reply(200, {**{key: row[key] for key in kept}, "warnings": [], "logFiles": log})

    def _write_log(self, job: Job) -> dict[str, str]:
        """Bring a job's log up to date and return its name and a link to it."""
        if job.status in ("NotStarted", "Preparing", "Queued"):
            return {}
        pipeline = job.parent is None and job.properties["jobType"] == "Pipeline"
        file = "logs/azureml/executionlogs.txt" if pipeline else "user_logs/std_log.txt"
        place = f"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.{job.name}/{file}"
        account, container, path = self._assets.place(job.workspace, place)
        self._blobs.put(account, container, path, _log(job).encode())
        signature = self._blobs.sign(account, container, path, permissions="r")
        return {file: f"https://{account}.blob.core.windows.net/{container}/{path}?{signature}"}

    def _data_uris(self, request: Request, workspace: str) -> Reply:
        return self._resolve(request, workspace, "uri")

    def _model_uris(self, request: Request, workspace: str) -> Reply:
        return self._resolve(request, workspace, "path")

    def _resolve(self, request: Request, workspace: str, member: str) -> Reply:
        """Answer where the outputs lie whose asset ids are asked for."""
        asset_ids = parse_json_object(request).get("values") or []
        _, _, subscription, _, group, *_, name = workspace.split("/")
        base = f"azureml://subscriptions/{subscription}/resourcegroups/{group}/workspaces/{name}"
        resolved = {}
        for job in self._jobs.all:
            for output_name, output in _ended_outputs(job).items():
                if (asset := _asset(output_name, output))["assetId"] in asset_ids:
                    uri = output["uri"].replace("azureml:/", base, 1)
                    resolved[asset["assetId"]] = {member: uri, "type": asset["type"]}
        return Reply(200, {"values": resolved})

    def _mlflow_run(self, request: Request, workspace: str) -> Reply:
        job = self._mlflow_job(request, workspace)
        last = {row["key"]: row for row in metrics(job)}
        info = {
            "run_id": job.name,
            "run_uuid": job.name,
            "run_name": job.properties.get("displayName"),
            "experiment_id": job.root.properties.get("experimentName"),
            "status": _MLFLOW.get(job.status, "RUNNING"),
            "start_time": int(job.times["NotStarted"].timestamp() * 1000),
            "end_time": int(job.times[job.status].timestamp() * 1000) if job.status in ENDED else None,
            "artifact_uri": "",
            "lifecycle_stage": "active",
        }
        tags = [{"key": "mlflow.rootRunId", "value": job.root.name}]
        if job.parent:
            tags.append({"key": "mlflow.parentRunId", "value": job.parent.name})
        return Reply(200, {"run": {"info": info, "data": {"metrics": list(last.values()), "params": [], "tags": tags}}})

    def _mlflow_history(self, request: Request, workspace: str) -> Reply:
        key = request.query.get("metric_key")
        rows = [row for row in metrics(self._mlflow_job(request, workspace)) if row["key"] == key]
        start, size = int(request.query.get("page_token") or 0), int(request.query.get("max_results") or 25000)
        more = {"next_page_token": str(start + size)} if start + size < len(rows) else {}
        return Reply(200, {"metrics": rows[start : start + size], **more})

    def _mlflow_artifacts(self, request: Request, workspace: str) -> Reply:
        job = self._mlflow_job(request, workspace)
        return Reply(200, {"root_uri": "", "files": artifacts(job, request.query.get("path", ""))})

    def _mlflow_job(self, request: Request, workspace: str) -> Job:
        try:
            return self._jobs.look(workspace, request.query.get("run_id") or request.query.get("run_uuid", ""))
        except ServiceError as error:
            raise MlflowError(404, "RESOURCE_DOES_NOT_EXIST", error.message) from None


class MlflowError(ServiceError):
    """A refusal as MLflow's REST words it."""

    @property
    def reply(self) -> Reply:
        """The answer that the caller gets."""
        return Reply(self.status, {"error_code": self.code, "message": self.message})


def _described(job: Job) -> dict[str, Any]:
    """Return a run as the history has it."""
    kind = "azureml.PipelineRun" if job.children else "azureml.StepRun" if job.parent else "azureml.scriptrun"
    if job.properties["jobType"] == "PromptFlow":
        kind = "azureml.promptflow.FlowRun"
    moments = {name: moment.isoformat() for name, moment in job.times.items()}
    error = {"error": {"code": "UserError", "message": job.error}} if job.error else None
    return {
        "runId": job.name,
        "runUuid": job.name,
        "parentRunId": job.parent.name if job.parent else None,
        "rootRunId": job.root.name,
        "experimentId": job.root.properties.get("experimentName"),
        "status": job.status,
        "createdUtc": moments["NotStarted"],
        "startTimeUtc": moments.get("Running"),
        "endTimeUtc": moments[job.status] if job.status in ENDED else None,
        "error": error,
        "warnings": [],
        "displayName": job.properties.get("displayName"),
        "name": job.properties.get("displayName"),
        "description": job.properties.get("description"),
        "runType": kind,
        "runTypeV2": {"orchestrator": None, "traits": [], "computeType": "AmlC"},
        "tags": job.properties.get("tags") or {},
        "properties": job.properties.get("properties") or {},
        "createdBy": {"userObjectId": CALLER, "userTenantId": TENANT, "userName": "tests"},
    }


def _ended_outputs(job: Job) -> dict[str, dict[str, str]]:
    return job.outputs if job.status == "Completed" else {}


def _asset(name: str, output: dict[str, str]) -> dict[str, str]:
    """Return the asset that the service makes of an output."""
    run = output["uri"].split("/azureml/")[-1].split("/")[0]
    kind = "models" if output["type"].endswith("_model") else "data"
    asset = f"azureml://locations/eastus2/workspaces/w/{kind}/azureml_{run}_output_{name}/versions/1"
    return {"assetId": asset, "type": _TYPES[output["type"]]}


def _log(job: Job) -> str:
    """Return a job's log up to now."""
    lines = [f"[{job.properties.get('displayName')}] {status}" for status in job.times]
    losses = [row for row in metrics(job) if row["key"] == "train_loss"]
    lines += [f"step {row['step']}: train_loss {row['value']:.4f}" for row in losses]
    return "\n".join([*lines, *([f"Error: {job.error}"] if job.error else []), ""])
