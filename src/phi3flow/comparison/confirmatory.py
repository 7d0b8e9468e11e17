"""Which metrics a comparison is made for: those that the user names, else one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from phi3flow.comparison.readings import PairedMetric
from phi3flow.comparison.rulers import Mismatch
from phi3flow.errors import ConfigError, RulerMismatchError

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


def choose_confirmatory(
    names: Sequence[str] | None,
    paired: Mapping[str, PairedMetric],
    whole_run: Iterable[str],
    unlike: Sequence[Mismatch],
    watched: str | None = None,
) -> list[str]:
    """Return the metrics that a comparison is made for: ``names``, else the one whose test ``watched`` a run, else
    value_accuracy where it applies to at least half of the pairs, else f1, else the first that lines have.

    ``whole_run`` are metrics without lines' scores. Raises ConfigError for an unknown or ambiguous name, and
    RulerMismatchError where what is to be compared was measured by different rulers (``unlike``).
    """
    unlike_metrics = {metric: mismatch for mismatch in unlike for metric in mismatch.metrics}
    if names:
        chosen = resolve_metrics(names, dict.fromkeys([*paired, *whole_run, *unlike_metrics]))
    elif watched and (watched in paired or watched in unlike_metrics):
        chosen = [watched]
    else:
        default = _default(paired)
        instead = None if default and _short(default) in _DEFAULT else default_metric(unlike_metrics)
        chosen = [name for name in (instead or default or next(iter(whole_run), None),) if name]
    for name in chosen:
        if name in unlike_metrics and name not in paired:
            raise RulerMismatchError(unlike_metrics[name].problem)
    return chosen


def _default(paired: Mapping[str, PairedMetric]) -> str | None:
    usable = {name: metric for name, metric in paired.items() if metric.n_both}
    rare = [
        name
        for name, metric in usable.items()
        if _short(name) == _DEFAULT[0] and 2 * metric.n_applies < len(metric.clusters)
    ]
    common = [name for name in usable if name not in rare]
    return default_metric(common) or next(iter(common or rare), None)


def _short(full: str) -> str:
    return full.rpartition(".")[2]
