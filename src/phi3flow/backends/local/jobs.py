"""Fine-tuning jobs of this machine: run, followed in MLflow, and remembered in the project's state."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from phi3flow.errors import ConfigError
from phi3flow.project import state
from phi3flow.project.paths import STATE_FILE
from phi3flow.project.state import JobState, ProjectState
from phi3flow.records.record import Record
from phi3flow.tracking.fine_tunes import tracked_run
from phi3flow.training import FineTuneConfig, find_fine_tuned, fine_tune, processes
from phi3flow.training.inputs import read_inputs
from phi3flow.training.progress import OnProgress, TrainingProgress, ignore_progress

BACKEND = "local"


class JobResult(Record):
    """What a fine-tuning job leaves: ``metrics`` are the scores ``before`` and ``after`` it, by name."""

    backend: str
    job: str
    status: str
    output: str
    metrics: dict[str, dict[str, float]]


def run_job(
    config: FineTuneConfig,
    *,
    on_progress: OnProgress = ignore_progress,
    state_path: Path = STATE_FILE,
) -> JobResult:
    """Fine-tune as one job, and return its result; a job whose model stands already is not run again.

    A job is named after its output and the fingerprint of its inputs, so that a resumption is the same job. Of several
    processes the first one reports it.
    """
    inputs = read_inputs(config)
    name = f"{config.output.name}-{inputs.fingerprint[:8]}"
    record = find_fine_tuned(config, inputs) if processes.count() == 1 else None  # several find it together
    if not processes.is_first():
        record = fine_tune(config)
    elif record is None:
        with _remembered(name, config.output, state_path), tracked_run(name) as run:

            def report(progress: TrainingProgress) -> None:
                on_progress(progress)
                run.log_progress(progress)

            record = fine_tune(config, on_progress=report)
            run.log_record(record, config.output)
    else:
        _remember(name, "Completed", config.output, state_path)
    return JobResult(
        backend=BACKEND,
        job=name,
        status="Completed",
        output=str(config.output),
        metrics={"before": record.before, "after": record.after},
    )


def find_job(name: str | None, *, state_path: Path = STATE_FILE) -> JobState:
    """Return a completed job of this machine by name, the latest without one. Raises ConfigError for none."""
    jobs = [job for job in state.load(state_path).jobs if job.backend == BACKEND]
    done = {job.name: job for job in jobs if job.status == "Completed"}
    if name is None and done:
        return list(done.values())[-1]
    if name in done:
        return done[name]
    known = ", ".join(f"{job.name} ({job.status})" for job in jobs) or "none was run in this folder"
    wanted = "no job has completed" if name is None else f"there is no completed job {name!r}"
    raise ConfigError(f"{wanted}; the fine-tuning jobs are: {known}. `phi3flow fine-tune --backend local` runs one")


@contextmanager
def _remembered(name: str, output: Path, path: Path) -> Iterator[None]:
    """Note a job as running, then as it ends."""
    _remember(name, "Running", output, path)
    try:
        yield
    except BaseException as error:
        _remember(name, "Canceled" if isinstance(error, KeyboardInterrupt) else "Failed", output, path)
        raise
    _remember(name, "Completed", output, path)


def _remember(name: str, status: str, output: Path, path: Path) -> None:
    job = JobState(backend=BACKEND, name=name, status=status, output=str(output), created_at=datetime.now(UTC))

    def change(before: ProjectState) -> ProjectState:
        others = [each for each in before.jobs if (each.backend, each.name) != (BACKEND, name)]
        return before.model_copy(update={"jobs": [*others, job]})

    state.update(change, path)
