"""Which metrics a comparison is made for: those that the user names, else the first of two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phi3flow.errors import ConfigError

_DEFAULT = ("value_accuracy", "f1")


def resolve_metrics(names: Sequence[str], available: Iterable[str]) -> list[str]:
    """Return full names for full or short ones. Raises ConfigError for an unknown or an ambiguous name."""
    available, resolved = list(available), list[str]()
    for name in names:
        matches = [full for full in available if name in (full, _short(full))]
        if len(matches) != 1:
            problem = (
                f"is ambiguous: {', '.join(matches)}" if matches else f"is unknown: there are {', '.join(available)}"
            )
            raise ConfigError(f"metric {name!r} {problem}")
        resolved += matches
    return list(dict.fromkeys(resolved))


def default_metric(available: Iterable[str]) -> str | None:
    """Return value_accuracy, else f1, by its full name; None where there is neither."""
    available = list(available)
    return next((full for short in _DEFAULT for full in available if _short(full) == short), None)


def _short(full: str) -> str:
    return full.rpartition(".")[2]
