"""The project's MLflow store: MLFLOW_TRACKING_URI's, or ``mlflow.db`` with artifacts in ``mlruns`` where one works.

Telemetry is off, and nothing is looked up in the network.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from phi3flow.errors import BackendError, MissingExtraError, StorageError
from phi3flow.project.paths import TRACKING_FILE

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
EXPERIMENT = "phi3flow"
LONGEST_PARAMETER = 500
"""In characters: what a database behind MLflow takes."""


def experiment(client: MlflowClient) -> str:
    """Return the id of the experiment that everything of phi3flow is in; it is made where it is not there."""
    existing = client.get_experiment_by_name(EXPERIMENT)
    return str(existing.experiment_id if existing else client.create_experiment(EXPERIMENT))


def find_run(client: MlflowClient, field: str, value: str) -> str | None:
    """Return the id of the experiment's run whose field has this value, None where there is none.

    MLflow's conditions know no escapes: a value stands in the quotes that it lacks. Raises BackendError where it has
    both.
    """
    quote = next((quote for quote in "'\"" if quote not in value), None)
    if quote is None:
        raise BackendError(f"MLflow cannot look for {value}: a name with both kinds of quotes")
    runs = client.search_runs([experiment(client)], f"{field} = {quote}{value}{quote}", max_results=1)
    return runs[0].info.run_id if runs else None


@contextmanager
def store() -> Iterator[ModuleType]:
    """Give mlflow, quiet and set to this project's store; its errors become BackendError.

    Raises StorageError where this project's cannot be written: MLflow would try for minutes.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is imported
    try:
        import mlflow
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise MissingExtraError("local", error) from error
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    preset = os.environ.get(TRACKING_VARIABLE)
    place = TRACKING_FILE if TRACKING_FILE.exists() else TRACKING_FILE.absolute().parent
    if not preset and not os.access(place, os.W_OK):
        raise StorageError(f"{TRACKING_FILE} cannot be written; set {TRACKING_VARIABLE} to another store")
    uri = preset or f"sqlite:///{TRACKING_FILE.resolve()}"
    mlflow.set_tracking_uri(uri)
    try:
        yield mlflow
    except MlflowException as error:
        raise BackendError(_without_password(f"MLflow at {uri}: {error}", uri)) from None
    finally:
        if not preset:  # mlflow puts the store into the environment, where the next folder would find it
            os.environ.pop(TRACKING_VARIABLE, None)


def _without_password(text: str, uri: str) -> str:
    """Take the user and password of ``uri`` out of ``text``."""
    credentials = urlsplit(uri).netloc.rpartition("@")[0]
    return text.replace(f"{credentials}@", "") if credentials else text
