"""Fine-tuning jobs of this machine: run in this process, followed in MLflow, and noted in the project's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from phi3flow.backends.backend import JobResult, PlannedJob
from phi3flow.backends.local import BACKEND
from phi3flow.errors import BackendError, ConfigError
from phi3flow.project.state import BackendState, JobState
from phi3flow.records.training import TrainingRecord
from phi3flow.text import plural
from phi3flow.tracking.fine_tunes import tracked_run
from phi3flow.training import FineTuneConfig, check_examples, find_fine_tuned, fine_tune, processes, read_record
from phi3flow.training.inputs import read_inputs
from phi3flow.training.progress import OnProgress, TrainingProgress, ignore_progress

ENDED = frozenset({"Completed", "Failed", "Canceled"})


@dataclass(frozen=True, kw_only=True)
class PlannedTraining(PlannedJob):
    """A training as it would be run; ``record`` is that of the model which these inputs gave already."""

    config: FineTuneConfig
    record: TrainingRecord | None


def plan_job(config: FineTuneConfig) -> PlannedTraining:
    """Read a fine-tune's inputs, and look whether its model stands already.

    A job is named after its output and the fingerprint of its inputs, so that a resumption is the same job. Raises
    DatasetError, ConfigError.
    """
    inputs = read_inputs(config)
    record = find_fine_tuned(config, inputs) if processes.count() == 1 else None  # several find it together
    remarks = [] if record else check_examples(config, inputs)
    return PlannedTraining(
        name=f"{config.output.name}-{inputs.fingerprint[:8]}",
        model=str(config.model or config.base.folder),
        status="Completed" if record else None,
        warnings=tuple(remarks),
        config=config,
        record=record,
    )


def note_planned(planned: PlannedTraining, state: BackendState) -> JobState:
    """Note a job before it runs, or as it stands, and return it; of several processes only the first one notes it."""
    job = _describe(planned.name, planned.status or "NotStarted", planned.config.output)
    if processes.is_first():
        state.note_job(job)
    return job


def run_planned(planned: PlannedTraining, *, on_progress: OnProgress, state: BackendState) -> JobResult:
    """Fine-tune as one job, and return its result; a job whose model stands already is not run again.

    Of several processes the first one reports it.
    """
    record, config = planned.record, planned.config
    if not processes.is_first():
        record = fine_tune(config)
    elif record is None:
        with _noted(planned.name, config.output, state), tracked_run(planned.name) as run:

            def report(progress: TrainingProgress) -> None:
                on_progress(progress)
                run.log_progress(progress)

            record = fine_tune(config, on_progress=report)
            run.log_record(record, config.output)
    return _result(planned.name, config.output, record)


def run_job(
    config: FineTuneConfig, *, on_progress: OnProgress = ignore_progress, state: BackendState | None = None
) -> JobResult:
    """Plan a fine-tune, note it and run it to its end."""
    state = state or BackendState(BACKEND)
    planned = plan_job(config)
    note_planned(planned, state)
    return run_planned(planned, on_progress=on_progress, state=state)


def find_job(name: str, state: BackendState) -> JobState:
    """Return a job of this machine by name. Raises ConfigError that lists those there are."""
    for job in state.jobs():
        if job.name == name:
            return job
    raise ConfigError(f"there is no job {name!r}; {_list_jobs(state.jobs())}")


def find_completed(name: str | None, state: BackendState) -> JobState:
    """Return a completed job of this machine by name, the latest without one. Raises ConfigError for none."""
    jobs = state.jobs()
    completed = {job.name: job for job in jobs if job.status == "Completed"}
    if name is None and completed:
        return list(completed.values())[-1]
    if name in completed:
        return completed[name]
    problem = "no job has completed" if name is None else f"there is no completed job {name!r}"
    raise ConfigError(f"{problem}; {_list_jobs(jobs)}")


def read_result(job: JobState) -> JobResult:
    """Return the result of a job that was run before.

    Raises ConfigError for one that another process runs, or whose model is gone, BackendError for one that failed.
    """
    if job.status not in ENDED:
        raise ConfigError(f"job {job.name} is {job.status}: it is followed where it was begun, and ends with it")
    if job.status != "Completed":
        raise BackendError(f"job {job.name} is {job.status}: `phi3flow fine-tune --backend local` runs it again")
    folder = Path(str(job.output))
    return _result(job.name, folder, need_record(job.name, folder))


def need_record(job: str, folder: Path) -> TrainingRecord:
    """Return the record of a job's model. Raises ConfigError where its folder holds none any more."""
    record = read_record(folder)
    if record is None:
        raise ConfigError(f"job {job}: its output {folder} holds no finished model any more; fine-tune again")
    return record


def _result(name: str, output: Path, record: TrainingRecord) -> JobResult:
    scores = [
        f"{metric.replace('_', ' ')}: {record.before[metric]:.3f} before, {score:.3f} after"
        for metric, score in record.after.items()
    ]
    return JobResult(
        backend=BACKEND,
        job=name,
        status="Completed",
        output=str(output),
        metrics={"before": record.before, "after": record.after},
        summary="\n".join([f"{name}: {output}", *_examples(record), *scores]),
    )


def _examples(record: TrainingRecord) -> list[str]:
    """Say what was learnt and what was not, where the record tells."""
    parameters = record.parameters
    if "examples_without_weight" not in parameters:
        return []
    limit = plural(parameters["max_tokens"], "token")
    parts = [
        f"{parameters['examples']:,} learnt",
        f"{parameters['examples_cut']:,} of them cut at {limit}",
        f"{parameters['examples_dropped']:,} left out, no answer within {limit}",
        f"{parameters['examples_without_weight']:,} with nothing to learn",
    ]
    return [f"examples: {', '.join(part for part in parts if not part.startswith('0 '))}"]


def _list_jobs(jobs: list[JobState]) -> str:
    names = ", ".join(f"{job.name} ({job.status})" for job in jobs) or "none was run in this folder"
    return f"the fine-tuning jobs are: {names}. `phi3flow fine-tune --backend local` runs one"


@contextmanager
def _noted(name: str, output: Path, state: BackendState) -> Iterator[None]:
    """Note a job as running, then as it ends."""
    state.note_job(_describe(name, "Running", output))
    try:
        yield
    except BaseException as error:
        status = "Canceled" if isinstance(error, KeyboardInterrupt) else "Failed"
        state.note_job(_describe(name, status, output))
        raise
    state.note_job(_describe(name, "Completed", output))


def _describe(name: str, status: str, output: Path) -> JobState:
    return JobState(backend=BACKEND, name=name, status=status, output=str(output), created_at=datetime.now(UTC))
