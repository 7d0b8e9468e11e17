"""Options of a run, said in one row: those that bound how the endpoint is asked, and the others."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from phi3flow.pacing.limits import Limits
from phi3flow.runner import RunOptions

_LIMITS = frozenset(field.name for field in fields(Limits))


def run_options(**values: Any) -> RunOptions:
    """Return the options with these values."""
    limits = Limits(**{name: value for name, value in values.items() if name in _LIMITS})
    return RunOptions(limits=limits, **{name: value for name, value in values.items() if name not in _LIMITS})
