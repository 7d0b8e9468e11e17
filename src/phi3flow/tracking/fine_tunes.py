"""MLflow: one run for each fine-tuning job, or the run that MLFLOW_RUN_ID names, as in a job of Azure's."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phi3flow.records.training import TrainingRecord
from phi3flow.tracking.store import experiment, store
from phi3flow.training.config import RECORD_FILE
from phi3flow.training.progress import TrainingProgress

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_VARIABLE = "MLFLOW_RUN_ID"
_LOGGER = logging.getLogger(__name__)
_LONGEST_PARAMETER = 500


class TrackedRun:
    """A job's run in MLflow. A resumed job goes on in the run that it began."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._heard = True

    def log_progress(self, progress: TrainingProgress) -> None:
        """Log a step's loss and learning rate, or a validation loss.

        A store that stops answering does not stop a training: it is said once, and the record is kept anyway.
        """
        if progress.phase != "fine-tune" or not self._heard:
            return
        found = {
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "validation_loss": progress.validation_loss,
        }
        try:
            self._log({name: value for name, value in found.items() if value is not None}, step=progress.step)
        except Exception as error:  # a database's and a server's errors have no common base
            self._heard = False
            _LOGGER.warning("MLflow takes no more metrics of this training: %s", error)

    def log_record(self, record: TrainingRecord, folder: Path) -> None:
        """Log the scores before and after, the settings, and the record itself as an artifact.

        A store that takes them no more is told of and does not undo the training.
        """
        try:
            self._log_record(record, folder)
        except Exception as error:  # as in log_progress
            _LOGGER.warning("MLflow did not take the record of this training: %s", error)

    def _log_record(self, record: TrainingRecord, folder: Path) -> None:
        from mlflow.entities import Param

        scores = {"before": record.before, "after": record.after}
        self._log({f"{when}.{name}": value for when, each in scores.items() for name, value in each.items()}, step=0)
        settings: dict[str, Any] = {"base_model": record.base_model, **record.parameters, **record.data}
        parameters = [Param(name, str(value)[:_LONGEST_PARAMETER]) for name, value in settings.items()]
        self._client.log_batch(self.run_id, params=parameters)
        self._client.log_artifact(self.run_id, str(folder / RECORD_FILE))

    def _log(self, metrics: dict[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        now_ms = int(time.time() * 1000)
        self._client.log_batch(self.run_id, [Metric(name, value, now_ms, step) for name, value in metrics.items()])


@contextmanager
def tracked_run(job: str) -> Iterator[TrackedRun]:
    """Give the job's run, and end it as it ends: FINISHED, KILLED by an interruption, else FAILED.

    The run of MLFLOW_RUN_ID was begun by somebody else, who ends it. Raises BackendError where the store cannot be
    reached.
    """
    with store() as mlflow:
        client = mlflow.MlflowClient()
        given = os.environ.get(RUN_VARIABLE)
        run_id = given or _find_run(client, job) or client.create_run(experiment(client), run_name=job).info.run_id
        if not given:
            client.update_run(run_id, status="RUNNING")
    if given:
        yield TrackedRun(client, given)
        return
    try:
        yield TrackedRun(client, run_id)
    except BaseException as error:
        _end(client, run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise
    _end(client, run_id, "FINISHED")


def _end(client: MlflowClient, run_id: str, status: str) -> None:
    try:
        client.set_terminated(run_id, status=status)
    except Exception as error:  # as in log_progress
        _LOGGER.warning("MLflow was not told that run %s is %s: %s", run_id, status, error)


def _find_run(client: MlflowClient, job: str) -> str | None:
    found = client.search_runs([experiment(client)], f"attributes.run_name = '{job}'", max_results=1)
    return found[0].info.run_id if found else None
