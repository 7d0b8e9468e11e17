"""What pydantic finds wrong with a value, read in one place, so that every message names key and value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError


@dataclass(frozen=True)
class Problem:
    """The first thing that is wrong.

    ``location`` are the keys down to it, none where it is the whole value; ``kind`` is pydantic's name of the problem,
    such as extra_forbidden; ``value`` is what stands there, ``context`` what the rule that it breaks has to say.
    """

    location: tuple[int | str, ...]
    kind: str
    message: str
    value: Any
    context: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The keys with dots between them."""
        return ".".join(map(str, self.location))


def first_problem(error: ValidationError) -> Problem:
    """Return the first problem that a validation found."""
    problem = error.errors(include_url=False)[0]
    return Problem(problem["loc"], problem["type"], problem["msg"], problem["input"], problem.get("ctx", {}))
