"""One of the ways to fine-tune, as `azure plan` shows it."""

from __future__ import annotations

from collections.abc import Sequence

from phi3flow.azure.foundation.plan import Task
from phi3flow.records.record import Record

UP = "phi3flow azure up"


class Way(Record):
    """A backend, and whether this subscription can fine-tune by it.

    ``after`` is what is to be typed first, ``existing_customers`` are the models that only they fine-tune, ``note``
    says what is to be set, and why models are not known; ``reasons`` say why it is not usable, each with the way out.
    """

    backend: str
    usable: bool
    after: str | None = None
    models: Sequence[str] = ()
    existing_customers: Sequence[str] = ()
    note: str | None = None
    reasons: Sequence[str] = ()


def up_if_open(tasks: Sequence[Task], *keys: str) -> str | None:
    """Return the command that makes what is missing, of what has a key that begins so; None where all is there."""
    begin = tuple(key.lower() for key in keys)
    return UP if any(task.is_open and task.requirement.key.startswith(begin) for task in tasks) else None


def is_missing(tasks: Sequence[Task], key: str) -> bool:
    """Whether something is to be made yet."""
    return any(task.requirement.key == key.lower() and task.condition.action == "create" for task in tasks)
