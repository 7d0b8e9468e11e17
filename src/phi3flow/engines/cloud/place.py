"""Places in the cloud that run a flow over a file of lines: what they are given, and what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from phi3flow.azure.workspace.jobs import OnJobProgress
from phi3flow.errors import BackendError
from phi3flow.flows import Flow
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineError, Usage
from phi3flow.text import shorten


@dataclass(frozen=True)
class FlowWork:
    """A flow to run over ``count`` lines of a file, which hold its inputs.

    ``mapping`` says which column of the file an input is. ``nodes`` and ``concurrency`` (attempts in flight, None: as
    the place sees fit) say how fast; ``max_failed`` lines may fail, None: all. ``apart``: these lines failed before,
    and one that fails again must not take others with it.
    """

    flow: Flow
    lines: Path
    count: int
    mapping: Mapping[str, str]
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    concurrency: int | None = None
    timeout_s: float = 180.0
    max_retries: int = 2
    max_failed: int | None = None
    apart: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LineAnswer:
    """What became of the line at a position of the file; ``error`` says why it has no ``outputs``."""

    position: int
    outputs: dict[str, Any] | None
    error: LineError | None = None
    latency_ms: float | None = None
    usage: Usage | None = None


class Place(Protocol):
    """A place that runs flows; every method raises BackendError where the place fails.

    ``max_retries``: retries where the user names none; ``refuses``: flags that this place alone cannot follow.
    """

    max_retries: ClassVar[int]
    refuses: ClassVar[tuple[str, ...]]

    def connections(self, names: Iterable[str]) -> dict[str, ConnectionUse]:
        """Return those of the connections that the place has.

        Raises ConfigError for one that it lacks, with the way to make it.
        """
        ...

    def status(self, name: str) -> str | None:
        """Return what became of the work of a name, None where none was submitted."""
        ...

    def check(self, work: FlowWork) -> None:
        """Raise ConfigError or PreflightError where the work could not run."""
        ...

    def cost(self, work: FlowWork) -> str:
        """Say what the work takes and costs, for the question before it is submitted."""
        ...

    def submit(self, name: str, work: FlowWork) -> None:
        """Upload flow and lines, and begin the work under a name that was never used."""
        ...

    def follow(self, name: str, on_progress: OnJobProgress) -> float:
        """Report the work's state until it has ended, and return how many seconds it ran.

        Raises BackendError, with its own error, where it failed or was canceled.
        """
        ...

    def answers(self, name: str) -> Iterator[LineAnswer]:
        """Give what became of each line that work which has ended tells of."""
        ...


def line_outputs(name: str, row: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
    """Return the position of a line and its outputs, of a row that holds both. Raises BackendError for another row."""
    position = row.get("line_number")
    if not isinstance(position, int) or isinstance(position, bool):
        raise BackendError(f"{name}: its outputs hold a row without a line_number: {shorten(str(row))}")
    return position, {key: value for key, value in row.items() if key != "line_number"}
