"""Jobs of a workspace: pipelines and commands that are checked, taken, go through their states and leave outputs.

Every look at a job, here or in its history, brings it nearer to its end: nothing moves while nobody looks.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.azure.emulator.assets import WORKSPACE, Assets, paged, shown
from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.pipeline_rules import FINE_TUNING, PipelineRules, invalid
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import PROVIDER, need_workspace

ENDED = ("Completed", "Failed", "Canceled")
_STEPS = ("chat_completion_model_import", "chat_completion_datapreprocess", "chat_completion_finetune")
_CHANGEABLE = ("description", "tags", "displayName", "properties", "isArchived")
_SHOWN_ONLY = ("status", "services")
_OF_EVERY_TYPE = ("jobType", "experimentName", *_CHANGEABLE, *_SHOWN_ONLY)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")


@dataclass
class Job:
    """A job or a step of one: ``properties`` as they were put, ``outputs`` by name, each with its type and place."""

    id: str
    properties: dict[str, Any]
    stages: tuple[str, ...]
    parent: Job | None = None
    polls: int = field(default=0, init=False)
    stage: int = field(default=0, init=False)
    over: str = field(default="", init=False)
    """Failed, Canceled or CancelRequested, where the job left its stages."""
    error: str | None = field(default=None, init=False)
    children: list[Job] = field(default_factory=list, init=False)
    outputs: dict[str, dict[str, str]] = field(default_factory=dict, init=False)
    times: dict[str, datetime] = field(default_factory=lambda: {"NotStarted": datetime.now(UTC)}, init=False)

    @property
    def name(self) -> str:
        """Its name, which is the run's id too."""
        return self.id.rpartition("/")[2]

    @property
    def status(self) -> str:
        """Where it stands."""
        return self.over or self.stages[self.stage]

    @property
    def workspace(self) -> str:
        """The id of the workspace that it runs in."""
        return "/".join(self.id.split("/")[:9])

    @property
    def root(self) -> Job:
        """The job that was put."""
        return self.parent.root if self.parent else self

    @property
    def progress(self) -> float:
        """How much of its running is done, from 0 to 1."""
        running = self.stages.index("Running")
        if self.stage != running:
            return float(self.stage > running)
        return min(0.9, self.polls / 2)

    def move(self, status: str) -> None:
        """Go to a state, and the steps with it."""
        self.times[status] = datetime.now(UTC)
        self.polls = 0
        if status in self.stages:
            self.stage = self.stages.index(status)
        else:
            self.over = status
        for child in self.children:
            child.move(status)


@dataclass(frozen=True)
class JobKind:
    """A type of job: the states that it goes through, what is checked first, and what it is to leave behind.

    ``is_known`` says whether the api-version of a request has jobs of the type.
    """

    stages: tuple[str, ...]
    check: Callable[[str, dict[str, Any]], None]
    prepare: Callable[[Job], None]
    is_known: Callable[[Request], bool] = lambda _: True


class Jobs:
    """Every workspace's jobs: ``find`` and ``all`` are for other services and for tests.

    ``make_output`` returns the files of an output of a command job or of a pipeline's step, when the job ends; another
    makes a job's results what a test needs.
    Each of ``on_end`` is told of every job that ends. A service that has jobs of another type adds it to ``kinds``.
    """

    def __init__(self, arm: ResourceManager, assets: Assets, blobs: Blobs, rules: PipelineRules) -> None:
        self._world, self._resources, self._operations = arm.world, arm.resources, arm.operations
        self._assets, self._blobs, self._rules = assets, blobs, rules
        self._jobs: dict[str, Job] = {}
        first, last = ("NotStarted", "Preparing"), ("Running", "Finalizing", "Completed")
        self.kinds = {
            "Pipeline": JobKind((*first, *last), rules.check_pipeline, self._add_steps),
            "Command": JobKind((*first, "Queued", *last), rules.check_command, self.add_outputs),
        }
        self.on_end: list[Callable[[Job], None]] = []
        self.make_output: Callable[[Job, str], Mapping[str, bytes]] = self._default_output
        assets.find_output = self._find_output

    def add_routes(self, router: Router) -> None:
        """Register jobs, to be listed, put, looked at and canceled."""
        router.add("GET", f"{WORKSPACE}/jobs", self._list)
        router.add("GET", f"{WORKSPACE}/jobs/{{name}}", self._get)
        router.add("PUT", f"{WORKSPACE}/jobs/{{name}}", self._put)
        router.add("POST", f"{WORKSPACE}/jobs/{{name}}/cancel", self._cancel)

    @property
    def all(self) -> list[Job]:
        """The jobs that were put, in order."""
        return [job for job in self._jobs.values() if job.parent is None]

    def find(self, workspace: str, name: str) -> Job | None:
        """Return a job or a step by its name, None where there is none."""
        return self._jobs.get(f"{workspace}/jobs/{name}".lower())

    def look(self, workspace: str, name: str) -> Job:
        """Return a job as somebody looks at it, which moves it. Raises ServiceError 404."""
        job = self.find(workspace, name)
        if job is None:
            raise ServiceError(404, "UserError", f"Job {name} not found.")
        self._advance(job.root)
        return job

    def _advance(self, job: Job) -> None:
        if job.status in ENDED:
            return
        if job.status == "CancelRequested":
            job.move("Canceled")
            return
        job.polls += 1
        if job.polls <= self._world.operation_polls:
            return
        if job.status == "Running" and self._world.job_failure is not None:
            job.move("Failed")
            self._fail(job, self._world.job_failure)
            return
        job.move(job.stages[job.stage + 1])
        if job.status == "Completed":
            self._leave_outputs(job)
        if job.status in ENDED:
            for tell in self.on_end:
                tell(job)

    def _fail(self, job: Job, cause: str) -> None:
        """Note an error where the service does: the cause at the last step, and that a step failed at what it is of."""
        if not job.children:
            job.error = cause
            return
        for step in job.children[:-1]:
            step.move("Completed")
        self._fail(job.children[-1], cause)
        nodes = f"/{job.children[-1].properties['displayName']}"
        job.error = f"Pipeline has some failed steps. See child run or execution logs for more details. Failed: {nodes}"

    def _leave_outputs(self, job: Job) -> None:
        """Write the files of a job's outputs; a pipeline's own are its steps'."""
        for child in job.children:
            self._leave_outputs(child)
        is_pipeline = bool(job.children) and job.parent is None
        for name, output in () if is_pipeline else job.outputs.items():
            account, container, path = self._assets.place(job.workspace, output["uri"])
            for file, content in self.make_output(job, name).items():
                self._blobs.put(account, container, path + file, content)

    def read_input(self, job: Job, name: str) -> bytes:
        """Return the content of the file that a step's input names, wherever its asset keeps it."""
        source = job.root.properties["jobs"][job.properties["displayName"]]["inputs"][name]["uri"]
        uri = self._assets.need_version(source)["properties"]["dataUri"] if source.startswith("/") else source
        return self._blobs.find(*self._assets.place(job.workspace, uri)) or b""

    def _default_output(self, job: Job, output: str) -> Mapping[str, bytes]:
        """Return the files of an output: a model's folder, a flow's outputs that repeat its lines, or an empty file."""
        if job.outputs[output]["type"] == "mlflow_model":
            return {"MLmodel": b"flavors:\n  transformers:\n    task: chat-completion\n", "data/config.json": b"{}"}
        if output == "flow_outputs" and job.parent:
            lines = self.read_input(job, "data").splitlines()
            rows = [json.dumps({"line_number": number, **json.loads(line)}) for number, line in enumerate(lines)]
            return {"parallel_run_step.jsonl": "".join(f"{row}\n" for row in rows).encode()}
        return {"part-0000.jsonl": b""}

    def _find_output(self, workspace: str, job_name: str, output: str) -> str:
        job = self.find(workspace, job_name)
        if job is None:
            raise ServiceError(404, "UserError", f"Job {job_name} not found.")
        if job.status != "Completed":
            message = f"The output '{output}' of job {job_name} cannot be registered: the job is {job.status}."
            raise ServiceError(400, "UserError", message)
        if output not in job.outputs:
            raise invalid(f"Job {job_name} has no output '{output}'. It has: {', '.join(job.outputs)}.")
        return job.outputs[output]["uri"]

    def _list(self, request: Request, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="read")["id"]
        jobs = [job for job in reversed(self.all) if job.workspace.lower() == workspace.lower()]
        return paged(request, [row for job in jobs if shown(request, row := self._seen(request, job))])

    def _get(self, request: Request, name: str, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="read")["id"]
        job = self.look(workspace, name)
        return Reply(200, self._seen(request, job), {} if job.status in ENDED else self._operations.wait)

    def _put(self, request: Request, name: str, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="write")["id"]
        properties = parse_json_object(request).get("properties") or {}
        before = self.find(workspace, name)
        if before:
            _update(before, properties)
            return Reply(200, self._describe(before))
        kind = self.kinds.get(str(properties.get("jobType")))
        if not _NAME.fullmatch(name):
            raise invalid(f"The job name '{name}' is not valid: it must match {_NAME.pattern}.")
        if kind is None or not kind.is_known(request):
            known = ", ".join(name for name, each in self.kinds.items() if each.is_known(request))
            raise invalid(f"The job type {properties.get('jobType')!r} is none of {known}.")
        if not _NAME.fullmatch(properties.get("experimentName") or "Default"):
            raise invalid(f"The experiment name '{properties['experimentName']}' must match {_NAME.pattern}.")
        kind.check(workspace, properties)
        job = Job(f"{workspace}/jobs/{name}", properties, kind.stages)
        self.add(job)
        kind.prepare(job)
        return Reply(201, self._describe(job))

    def add_outputs(self, job: Job) -> None:
        """Say where a job will leave its outputs."""
        job.outputs = {name: _output(job.name, name, spec) for name, spec in _outputs(job.properties).items()}

    def add(self, job: Job) -> None:
        """Keep a job; another service may have jobs of its own, which go through their stages as these do."""
        self._jobs[job.id.lower()] = job

    def _add_steps(self, job: Job) -> None:
        """Make a pipeline's steps, and bind its outputs to theirs."""
        for node, body in job.properties["jobs"].items():
            component = self._rules.component(body["componentId"])
            step = self._add_step(job, node, component["name"])
            for substep in _STEPS if component["name"] == FINE_TUNING else ():
                self._add_step(step, substep, substep)
            for name, spec in (component.get("outputs") or {}).items():
                step.outputs[name] = _output(step.name, name, {"jobOutputType": spec["type"]})
                bound = str(((body.get("outputs") or {}).get(name) or {}).get("value", ""))
                if bound.startswith("${{parent.outputs."):
                    job.outputs[bound.removeprefix("${{parent.outputs.").removesuffix("}}")] = step.outputs[name]

    def _add_step(self, parent: Job, node: str, component: str) -> Job:
        """Make a step, whose name the service draws."""
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{parent.id} {node}"))
        properties: dict[str, Any] = {"jobType": "Command", "displayName": node, "component": component}
        properties["experimentName"] = parent.properties.get("experimentName")
        step = Job(f"{parent.workspace}/jobs/{name}", properties, parent.stages, parent)
        parent.children.append(step)
        self.add(step)
        return step

    def _cancel(self, request: Request, name: str, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="write")
        job = self.find(workspace["id"], name)
        if job is None:
            raise ServiceError(404, "UserError", f"Job {name} not found.")
        if job.status in ENDED:
            raise invalid(f"Job {name} cannot be canceled: it is {job.status}.")
        job.move("CancelRequested")
        operation = self._operations.start(
            provider=PROVIDER, location=workspace["location"], finish=lambda: self._advance(job)
        )
        return Reply(202, None, {key: value for key, value in operation[1].items() if key != "Azure-AsyncOperation"})

    def _seen(self, request: Request, job: Job) -> dict[str, Any]:
        """Return a job as a request's api-version shows it: of a type that it does not know, what all types have.

        That it shows so much follows from azure-ai-ml, which learns from an older version what type a job is of.
        """
        row, kind = self._describe(job), self.kinds.get(str(job.properties.get("jobType")))
        if kind is None or kind.is_known(request) or job.parent:
            return row
        return {**row, "properties": {name: row["properties"].get(name) for name in _OF_EVERY_TYPE}}

    def _describe(self, job: Job) -> dict[str, Any]:
        """Return a job as ARM shows it; of a step it shows no properties."""
        row = {"id": job.id, "name": job.name, "type": f"{PROVIDER}/workspaces/jobs"}
        if job.parent:
            return {**row, "properties": None}
        portal = f"https://ml.azure.com/runs/{job.name}?wsid={job.workspace}"
        services = {"Studio": {"jobServiceType": "Studio", "endpoint": portal, "status": None}}
        place = f"azureml://datastores/workspaceartifactstore/ExperimentRun/dcid.{job.name}"
        outputs: dict[str, Any] = {"default": {"jobOutputType": "uri_folder", "uri": place, "mode": "ReadWriteMount"}}
        for name, spec in _outputs(job.properties).items():
            address = {"uri": job.outputs[name]["uri"]} if job.status == "Completed" and name in job.outputs else {}
            outputs[name] = {"mode": "ReadWriteMount", **spec, **address}
        created = job.times["NotStarted"].isoformat()
        properties = {**job.properties, "status": job.status, "services": services, "outputs": outputs}
        return {**row, "properties": properties, "systemData": {"createdAt": created, "lastModifiedAt": created}}


def _outputs(properties: dict[str, Any]) -> dict[str, Any]:
    return properties.get("outputs") or {}


def _output(run: str, name: str, spec: dict[str, Any]) -> dict[str, str]:
    uri = spec.get("uri") or f"azureml://datastores/workspaceblobstore/paths/azureml/{run}/{name}/"
    return {"type": str(spec["jobOutputType"]), "uri": uri}


def _update(job: Job, after: dict[str, Any]) -> None:
    """Change what may be changed of a job: tags and properties are added to. Raises ServiceError 400 for the rest."""
    before = job.properties
    changed = [
        name[0].upper() + name[1:]
        for name in sorted({*before, *after})
        if name not in (*_CHANGEABLE, *_SHOWN_ONLY) and _plain(name, before) != _plain(name, after)
    ]
    if changed:
        raise ServiceError(
            400,
            "UserError",
            "A job with this name already exists. If you are trying to create a new job, use a different name. If you "
            f"are trying to update an existing job, the existing job's {',  '.join(changed)} cannot be changed. Only "
            "description, tags, displayName, properties, and isArchived can be updated.",
        )
    added = {name: {**(before.get(name) or {}), **(after.get(name) or {})} for name in ("tags", "properties")}
    kept: dict[str, Any] = {name: after[name] for name in _CHANGEABLE if name in after}
    job.properties = {**before, **kept, **added}


def _plain(name: str, properties: dict[str, Any]) -> Any:
    """Return a property as it was put, of outputs without what the service adds to them."""
    value = properties.get(name)
    if name != "outputs" or not value:
        return value or None
    types = {key: output["jobOutputType"] for key, output in value.items() if key != "default"}
    return types or None
