"""What is told of a job in the cloud while it is followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class JobProgress:
    """Where a job stands; ``metrics`` are the last values that it logged, ``page`` shows it in a browser."""

    name: str
    status: str
    page: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


OnJobProgress = Callable[[JobProgress], None]
