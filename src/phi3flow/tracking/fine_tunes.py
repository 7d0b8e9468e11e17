"""MLflow: one run for each fine-tuning job, or the run that MLFLOW_RUN_ID names, as in a job of Azure's."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.records.training import TrainingRecord
from phi3flow.tracking.store import LONGEST_PARAMETER, experiment, find_run, store
from phi3flow.training.config import RECORD_FILE
from phi3flow.training.progress import TrainingProgress

if TYPE_CHECKING:
    from mlflow import MlflowClient

RUN_VARIABLE = "MLFLOW_RUN_ID"
_LOGGER = logging.getLogger(__name__)


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
        figures = {
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "validation_loss": progress.validation_loss,
        }
        try:
            self._log({name: value for name, value in figures.items() if value is not None}, step=progress.step)
        except Exception as error:  # a database's and a server's errors have no common base
            self._heard = False
            _LOGGER.warning("MLflow takes no more metrics of this training: %s", error)

    def log_record(self, record: TrainingRecord, folder: Path) -> None:
        """Log the scores before and after, the parameters, and the record itself as an artifact.

        A store that takes them no more is told of and does not undo the training.
        """
        try:
            self._log_record(record, folder)
        except Exception as error:  # as in log_progress
            _LOGGER.warning("MLflow did not take the record of this training: %s", error)

    def _log_record(self, record: TrainingRecord, folder: Path) -> None:
        from mlflow.entities import Param

        scores = {"before": record.before, "after": record.after}
        self._log({f"{when}.{name}": value for when in scores for name, value in scores[when].items()}, step=0)
        parameters = {"base_model": record.base_model, **record.parameters, **record.data}
        params = [Param(name, str(value)[:LONGEST_PARAMETER]) for name, value in parameters.items()]
        self._client.log_batch(self.run_id, params=params)
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
        foreign = os.environ.get(RUN_VARIABLE)
        own = None if foreign else find_run(client, "attributes.run_name", job)
        run_id = foreign or own or client.create_run(experiment(client), run_name=job).info.run_id
        if not foreign:
            client.update_run(run_id, status="RUNNING")
    if foreign:
        yield TrackedRun(client, foreign)
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
