"""Making what is missing, and deleting what phi3flow made: as much at once as the order allows."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from phi3flow.azure.arm import Arm
from phi3flow.azure.foundation.resources import Requirement
from phi3flow.errors import AzureError, Phi3flowError


@dataclass(frozen=True)
class Event:
    """A resource's work begins, or has ended after ``seconds``."""

    requirement: Requirement
    stage: Literal["begun", "done", "failed"]
    seconds: float = 0.0
    error: str = ""


OnEvent = Callable[[Event], None]


def make_all(arm: Arm, requirements: Sequence[Requirement], *, on_event: OnEvent) -> None:
    """Make all, each after what it needs; what needs nothing of it goes on where one fails.

    Raises AzureError that lists everything that failed. What was begun goes on in Azure even where this is killed,
    and the next call waits for it.
    """
    keys = {requirement.key for requirement in requirements}
    needs = {requirement.key: keys.intersection(requirement.needs) for requirement in requirements}
    _work_off(requirements, needs, lambda requirement: requirement.make(arm), on_event)


def remove_all(arm: Arm, requirements: Sequence[Requirement], *, on_event: OnEvent) -> None:
    """Delete all, each before what it needs. Raises AzureError as ``make_all`` does."""
    dependents: dict[str, set[str]] = {requirement.key: set() for requirement in requirements}
    for requirement in requirements:
        for key in requirement.needs:
            if key in dependents:
                dependents[key].add(requirement.key)
    _work_off(requirements, dependents, lambda requirement: requirement.remove(arm), on_event)


def _work_off(
    requirements: Sequence[Requirement],
    before: Mapping[str, set[str]],
    work: Callable[[Requirement], None],
    on_event: OnEvent,
) -> None:
    """Do the work of each, once that of all ``before`` it is done, in daemon threads: Ctrl-C need not wait for them."""
    waiting = {requirement.key: requirement for requirement in requirements}
    left = {key: set(keys) for key, keys in before.items()}
    events: queue.SimpleQueue[Event | BaseException] = queue.SimpleQueue()
    running = 0
    failures: dict[str, str] = {}

    def start_ready() -> int:
        ready = [key for key in waiting if not left[key]]
        for key in ready:
            threading.Thread(target=_do, args=(waiting.pop(key), work, events), daemon=True).start()
        return len(ready)

    running += start_ready()
    while running:
        event = events.get()
        if isinstance(event, BaseException):
            raise event
        on_event(event)
        if event.stage == "begun":
            continue
        running -= 1
        if event.stage == "failed":
            failures[event.requirement.key] = f"{_named(event.requirement)}: {event.error}"
            continue
        for keys in left.values():
            keys.discard(event.requirement.key)
        running += start_ready()
    if failures:
        unbegun = ", ".join(map(_named, waiting.values()))
        blocked = f"\nNot begun, since they need these: {unbegun}" if unbegun else ""
        in_order = [failures[requirement.key] for requirement in requirements if requirement.key in failures]
        raise AzureError("\n".join(in_order) + blocked + "\nThe same command goes on from here.")


def _named(requirement: Requirement) -> str:
    return f"{requirement.label} {requirement.name}"


def _do(
    requirement: Requirement, work: Callable[[Requirement], None], events: queue.SimpleQueue[Event | BaseException]
) -> None:
    begun_s = time.monotonic()
    events.put(Event(requirement, "begun"))
    try:
        work(requirement)
    except Phi3flowError as error:
        events.put(Event(requirement, "failed", time.monotonic() - begun_s, str(error)))
    except BaseException as error:
        events.put(error)
    else:
        events.put(Event(requirement, "done", time.monotonic() - begun_s))
