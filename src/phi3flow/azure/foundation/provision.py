"""Making what is missing, and deleting what phi3flow made: as much at once as the order allows."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from phi3flow.azure.arm import Arm
from phi3flow.azure.foundation.resources import Wanted
from phi3flow.errors import AzureError, Phi3flowError


@dataclass(frozen=True)
class Event:
    """A resource's work begins, or has ended after ``seconds``."""

    wanted: Wanted
    what: Literal["begun", "done", "failed"]
    seconds: float = 0.0
    error: str = ""


OnEvent = Callable[[Event], None]


def make_all(arm: Arm, wanted: Sequence[Wanted], *, on_event: OnEvent) -> None:
    """Make what is given, each after what it needs; the rest goes on where one fails.

    Raises AzureError that lists everything that failed. What was begun goes on in Azure even where this is killed,
    and the next call waits for it.
    """
    given = {each.key for each in wanted}
    needs = {each.key: {key for key in each.needs if key in given} for each in wanted}
    _work_off(wanted, needs, lambda each: each.make(arm), on_event)


def remove_all(arm: Arm, wanted: Sequence[Wanted], *, on_event: OnEvent) -> None:
    """Delete what is given, each before what it needs. Raises AzureError as ``make_all`` does."""
    dependents: dict[str, set[str]] = {each.key: set() for each in wanted}
    for each in wanted:
        for key in each.needs:
            if key in dependents:
                dependents[key].add(each.key)
    _work_off(wanted, dependents, lambda each: each.remove(arm), on_event)


def _work_off(
    wanted: Sequence[Wanted],
    before: Mapping[str, set[str]],
    work: Callable[[Wanted], None],
    on_event: OnEvent,
) -> None:
    """Do the work of each, once that of all ``before`` it is done, in daemon threads: Ctrl-C need not wait for them."""
    waiting = {each.key: each for each in wanted}
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
        if event.what == "begun":
            continue
        running -= 1
        if event.what == "failed":
            failures[event.wanted.key] = f"{event.wanted.label} {event.wanted.name}: {event.error}"
            continue
        for keys in left.values():
            keys.discard(event.wanted.key)
        running += start_ready()
    if failures:
        waited = [f"{each.label} {each.name}" for each in waiting.values()]
        rest = f"\nNot begun, since they need these: {', '.join(waited)}" if waited else ""
        in_order = [failures[each.key] for each in wanted if each.key in failures]
        raise AzureError("\n".join(in_order) + rest + "\nThe same command goes on from here.")


def _do(wanted: Wanted, work: Callable[[Wanted], None], events: queue.SimpleQueue[Event | BaseException]) -> None:
    begun_s = time.monotonic()
    events.put(Event(wanted, "begun"))
    try:
        work(wanted)
    except Phi3flowError as error:
        events.put(Event(wanted, "failed", time.monotonic() - begun_s, str(error)))
    except BaseException as error:
        events.put(error)
    else:
        events.put(Event(wanted, "done", time.monotonic() - begun_s))
