"""Flows over a file as jobs of the workspace: a pipeline of one step, the flow as a parallel component.

Facts: learn.microsoft.com reference-yaml-job-parallel, microsoft/promptflow docs/cloud/azureai and
src/promptflow-parallel. A step reads the file in mini-batches of lines; each process of each node executes one after
the other, a mini-batch's lines in turn; a line that raises fails its mini-batch, which is tried again as a whole, and
then none of its lines has an answer.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.preflight.findings import refuse
from phi3flow.azure.preflight.preflight import check_flow_job
from phi3flow.azure.preflight.sizes import list_sizes
from phi3flow.azure.prices import describe_cost
from phi3flow.azure.workspace.code_assets import ensure_code
from phi3flow.azure.workspace.connections import need_hosts
from phi3flow.azure.workspace.data_assets import ensure_data
from phi3flow.azure.workspace.jobs import Jobs, OnJobProgress
from phi3flow.azure.workspace.sdk import persistently, refusals
from phi3flow.azure.workspace.workspace import open_workspace
from phi3flow.engines.cloud.flow_upload import flow_to_upload, need_tools_file, read_folder
from phi3flow.engines.cloud.place import FlowWork, LineAnswer, line_outputs
from phi3flow.errors import BackendError, ConfigError, DatasetError, ForbiddenError
from phi3flow.flows import DAG_FILE, fingerprint
from phi3flow.project.paths import PROJECT
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.yaml_text import change_yaml
from phi3flow.storage.jsonl import Row, read_rows
from phi3flow.temporary import temporary_folder

if TYPE_CHECKING:
    from azure.ai.ml.entities import PipelineJob

OUTPUT = "flow_outputs"
SCHEMA = "https://azuremlschemas.azureedge.net/promptflow/latest/Flow.schema.json"
DEFAULT_PROCESSES = 4
_PORTS = {"data", "run_outputs", "flow_outputs", "connections", "environment_variables"}
MOST_LINES = 10
"""A mini-batch is no larger, since a line that fails takes the others of its mini-batch with it."""
MINI_BATCHES = 20
"""So many mini-batches or more fall to each process, so that all end at about the same time."""


class FlowJobs:
    """The jobs of ``project``'s workspace that run flows."""

    max_retries: ClassVar[int] = 2
    refuses: ClassVar[tuple[str, ...]] = ()

    def __init__(self, project: Path = PROJECT) -> None:
        self._workspace = open_workspace(project)
        self._jobs = Jobs(self._workspace)

    def connections(self, names: Iterable[str]) -> dict[str, ConnectionUse]:
        """See Place."""
        name = self._workspace.settings.workspace
        return need_hosts(self._workspace, name, names, label=f"the workspace {name}", to="azureml")

    def status(self, name: str) -> str | None:
        """See Place."""
        job = self._jobs.read(name)
        return None if job is None else str(job.get("status"))

    def check(self, work: FlowWork) -> None:
        """See Place."""
        need_tools_file(work.flow)
        taken = sorted(_PORTS & set(work.flow.inputs))
        if taken:
            raise ConfigError(
                f"{work.flow.folder}: the input {taken[0]} has the name of a port that Azure Machine Learning gives "
                "each flow: give it another name"
            )
        refuse(check_flow_job(self._workspace, nodes=work.nodes))

    def cost(self, work: FlowWork) -> str:
        """See Place."""
        settings = self._workspace.settings
        path = f"{self._workspace.id}/computes/{settings.batch_compute}"
        cluster = self._workspace.arm.get(path, ML_VERSION) or {}
        size = str(((cluster.get("properties") or {}).get("properties") or {}).get("vmSize"))
        with contextlib.suppress(ForbiddenError):
            offered = list_sizes(self._workspace).get(size.lower())  # clusters tell their size in capitals
            size = offered.name if offered else size
        return f"{settings.batch_compute}: {describe_cost(size, self._workspace.location, work.nodes)}"

    def submit(self, name: str, work: FlowWork) -> None:
        """See Place."""
        from azure.ai.ml import load_component

        data = ensure_data(self._workspace, work.lines, role="lines")
        with flow_to_upload(work.flow) as folder:
            _mark(folder)
            code = ensure_code(self._workspace, read_folder(folder), role="flow")
            with refusals(f"flow {work.flow.folder}"):
                flow: Any = load_component(folder / DAG_FILE)
                flow._fill_back_code_value(code)  # else it would be uploaded by the SDK (see code_assets)
                job = build_flow_job(name, flow, data, work, compute=self._workspace.settings.batch_compute)
            persistently(f"job {name}", lambda: self._workspace.sdk.workspace.jobs.create_or_update(job))

    def follow(self, name: str, on_progress: OnJobProgress) -> float:
        """See Place."""
        self._jobs.follow(name, on_progress)
        return self._jobs.ran_s(name)

    def answers(self, name: str) -> Iterator[LineAnswer]:
        """See Place. A row is a line's outputs with its line_number, in newer images inside ``output``."""
        with temporary_folder() as folder:
            jobs = self._workspace.sdk.workspace.jobs
            download = partial(jobs.download, name, download_path=folder, output_name=OUTPUT)
            persistently(f"the output of job {name}", download)
            try:
                for row in _output_rows(folder):
                    inner = row.get("output")
                    outputs = inner if isinstance(inner, dict) and "line_number" not in row else row
                    yield LineAnswer(*line_outputs(f"job {name}", outputs))
            except DatasetError as error:
                raise BackendError(f"job {name}: {error}") from error


def build_flow_job(name: str, flow: Any, data: str, work: FlowWork, *, compute: str) -> PipelineJob:
    """Return the pipeline job of a flow's component over the data asset of an id.

    It never takes over the outputs of an earlier job, as pipelines do for equal inputs: answers are drawn anew.
    """
    from azure.ai.ml import Input, dsl
    from azure.ai.ml.entities import PipelineJobSettings

    size, processes = mini_batch(work), _processes(work)

    @dsl.pipeline
    def run_flow() -> dict[str, Any]:
        lines = flow(data=Input(type="uri_file", path=data), **work.mapping)
        lines.compute, lines.resources = compute, {"instance_count": work.nodes}
        lines.max_concurrency_per_instance, lines.mini_batch_size = processes, size
        lines.retry_settings = {"max_retries": work.max_retries, "timeout": math.ceil(work.timeout_s * size)}
        lines.error_threshold = lines.mini_batch_error_threshold = -1 if work.max_failed is None else work.max_failed
        lines.environment_variables = {"PF_INPUT_FORMAT": "jsonl", **work.environment}
        return {OUTPUT: lines.outputs.flow_outputs}

    job: PipelineJob = run_flow()
    job.name, job.display_name, job.experiment_name = name, name, "phi3flow-batch-run"
    job.tags, job.settings = dict(work.tags), PipelineJobSettings(force_rerun=True)
    return job


def mini_batch(work: FlowWork) -> int:
    """Return how many lines a mini-batch has."""
    if work.apart:
        return 1
    return min(MOST_LINES, math.ceil(work.count / (MINI_BATCHES * work.nodes * _processes(work))))


def _processes(work: FlowWork) -> int:
    """Return how many processes a node has."""
    return DEFAULT_PROCESSES if work.concurrency is None else math.ceil(work.concurrency / work.nodes)


def _mark(folder: Path) -> None:
    """Write into a flow's YAML what azure-ai-ml goes by: the schema of flows, and a tag with the folder's content.

    It names a component after its YAML alone: without the tag, a changed flow would get the name of the one before.
    """
    file = folder / DAG_FILE
    content = f"{folder.name}:{fingerprint(folder)}"

    def mark(definition: Any) -> None:
        definition["$schema"] = SCHEMA
        definition["tags"] = {**(definition.get("tags") or {}), "content": content}

    file.write_text(change_yaml(file.read_text(encoding="utf-8"), mark), encoding="utf-8")


def _output_rows(folder: Path) -> Iterator[Row]:
    """Give the rows of the step's output: of the file that is put together at its end, or of several."""
    files = sorted(folder.rglob("*.jsonl"))
    joined = [file for file in files if file.name == "parallel_run_step.jsonl"]
    if not files:
        raise DatasetError(f"its output {OUTPUT} holds no JSON Lines")
    for file in joined or files:
        for _, row in read_rows(file):
            yield row
