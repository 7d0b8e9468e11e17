"""What runs used: tokens, who counted them, what they cost, and how many answers came from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phi3flow.records.runs import TokenTotal
from phi3flow.report.run_view import RunView
from phi3flow.report.wording import number, plural, signed


@dataclass(frozen=True)
class TokenRow:
    """One run, or the difference of a candidate from the baseline, as it is printed."""

    name: str
    prompt: str
    completion: str
    a_line: str
    cost: str
    counted_by: str
    cache_hits: str


@dataclass(frozen=True)
class _Use:
    """What one run used; ``lines`` are those whose tokens are known, ``cost`` None where it has no prices."""

    prompt: int
    completion: int
    lines: int
    cost: float | None

    @property
    def a_line(self) -> float | None:
        return (self.prompt + self.completion) / self.lines if self.lines else None


def token_rows(runs: Sequence[RunView]) -> list[TokenRow]:
    """Return a row for each run, then each one's difference from the first; none where nothing was counted."""
    uses = [_use(run) for run in runs]
    if not any(uses) and not any(run.manifest.cache_hits for run in runs):
        return []
    rows = [_row(run, use) for run, use in zip(runs, uses, strict=True)]
    first = uses[0]
    if first is None:
        return rows
    return rows + [_difference(run, use, first) for run, use in zip(runs[1:], uses[1:], strict=True) if use is not None]


def price(cost: float | None) -> str:
    """Return a cost with two decimals, or with three digits where it is below 1; a dash where it is unknown."""
    if cost is None or cost == 0:
        return number(cost, 2)
    return number(cost, 2) if abs(cost) >= 1 else f"{cost:.3g}" if abs(cost) >= 1e-4 else number(cost, 7)


def _use(run: RunView) -> _Use | None:
    """Return the manifest's totals, which alone know the cost; else the sum over the results."""
    total = run.manifest.tokens
    if total is not None and total.n_endpoint + total.n_tokenizer:
        return _Use(total.prompt_tokens, total.completion_tokens, total.n_endpoint + total.n_tokenizer, total.cost)
    if run.tokens is None:
        return None
    prompt, completion, lines = run.tokens
    return _Use(prompt, completion, lines, None)


def _row(run: RunView, use: _Use | None) -> TokenRow:
    hits = number(run.manifest.cache_hits, 0)
    if use is None:
        unknown = number(None)
        return TokenRow(run.name, unknown, unknown, unknown, unknown, "", hits)
    return TokenRow(
        run.name,
        number(use.prompt, 0),
        number(use.completion, 0),
        number(use.a_line, 1),
        price(use.cost),
        _counted_by(run.manifest.tokens, use, run.completed),
        hits,
    )


def _counted_by(total: TokenTotal | None, use: _Use, completed: int) -> str:
    if total is None:
        unknown = completed - use.lines
        return f"{plural(unknown, 'line')} unknown" if unknown > 0 else ""
    parts = {"endpoint": total.n_endpoint, "tokenizer": total.n_tokenizer}
    used = [name for name, count in parts.items() if count]
    if len(used) == 1 and not total.n_unknown:
        return used[0]
    shown = [f"{name} {parts[name]:,}" for name in used]
    return ", ".join(shown + ([f"nobody {total.n_unknown:,}"] if total.n_unknown else []))


def _difference(run: RunView, use: _Use, first: _Use) -> TokenRow:
    return TokenRow(
        f"{run.name}, difference",
        _change(use.prompt, first.prompt),
        _change(use.completion, first.completion),
        _share(use.a_line, first.a_line, signed(_minus(use.a_line, first.a_line), 1)),
        _share(use.cost, first.cost, _signed_price(_minus(use.cost, first.cost))),
        "",
        "",
    )


def _change(now: int, before: int) -> str:
    return _share(now, before, signed(now - before, 0))


def _share(now: float | None, before: float | None, shown: str) -> str:
    """Return ``shown`` with the change in per cent of what it was."""
    if now is None or not before:
        return shown
    return f"{shown} ({signed(100 * (now / before - 1), 1)} %)"


def _signed_price(cost: float | None) -> str:
    if cost is None:
        return number(None)
    sign = "+" if cost > 0 else "−" if cost < 0 else ""
    return sign + price(abs(cost))


def _minus(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
