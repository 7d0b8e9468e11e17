"""Margins within which two runs count as equivalent: one for all confirmatory metrics, or a metric's own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from phi3flow.comparison.confirmatory import resolve_metrics
from phi3flow.errors import ConfigError


@dataclass(frozen=True)
class Margins:
    """``default`` is for every confirmatory metric that ``by_metric`` (full or short names) does not name."""

    default: float | None = None
    by_metric: Mapping[str, float] = field(default_factory=dict)

    def resolve(self, confirmatory: Sequence[str]) -> dict[str, float | None]:
        """Return each confirmatory metric's margin. Raises ConfigError for a metric that is not among them."""
        margins: dict[str, float | None] = dict.fromkeys(confirmatory, self.default)
        for name, margin in self.by_metric.items():
            try:
                (full,) = resolve_metrics([name], confirmatory)
            except ConfigError as error:
                raise ConfigError(f"--margin {name}={margin:g}: {error}, and no other is confirmatory") from error
            margins[full] = margin
        return margins


NO_MARGINS = Margins()


def parse_margins(texts: Iterable[str]) -> Margins:
    """Return what ``NUMBER`` and ``METRIC=NUMBER`` say. Raises ConfigError for what is no number above 0, or twice."""
    default, by_metric = list[float](), dict[str, float]()
    for text in texts:
        name, _, number = text.rpartition("=")
        margin = _number(number)
        if margin is None or ("=" in text and not name.strip()):
            raise ConfigError(f"--margin {text}: is not NUMBER or METRIC=NUMBER, with a number above 0 such as 0.05")
        if name.strip() in by_metric or (not name and default):
            raise ConfigError(f"--margin {text}: {name.strip() or 'all metrics'} already has a margin")
        if name:
            by_metric[name.strip()] = margin
        else:
            default.append(margin)
    return Margins(default[0] if default else None, by_metric)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None
