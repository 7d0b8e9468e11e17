"""What every record is: a frozen pydantic model that refuses unknown keys; and the version of a run's."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 2
"""Of a run's manifest and its scores. What version 1 wrote opens read-only: it does not say what measured it."""


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
