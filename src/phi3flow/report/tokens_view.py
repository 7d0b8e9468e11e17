"""What runs used: tokens, who counted them, what they cost, and how many answers came from the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phi3flow.records.runs import TokenTotal
from phi3flow.report.run_view import RunView
from phi3flow.report.wording import number, signed
from phi3flow.text import money, plural


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
class _Tokens:
    """The tokens of one run over the ``lines`` that they were counted for; ``cost`` is None where it has no prices."""

    prompt: int
    completion: int
    lines: int
    cost: float | None

    @property
    def a_line(self) -> float | None:
        return (self.prompt + self.completion) / self.lines if self.lines else None


def token_rows(runs: Sequence[RunView]) -> list[TokenRow]:
    """Return a row for each run, then each one's difference from the first; none where nothing was counted."""
    counted = [_tokens(run) for run in runs]
    if not any(counted) and not any(run.manifest.cache_hits for run in runs):
        return []
    rows = [_row(run, tokens) for run, tokens in zip(runs, counted, strict=True)]
    first = counted[0]
    if first is None:
        return rows
    return rows + [
        _difference(run, tokens, first) for run, tokens in zip(runs[1:], counted[1:], strict=True) if tokens is not None
    ]


def price(cost: float | None) -> str:
    """Return a cost with two decimals, or with three digits where it is below 1; a dash where it is unknown."""
    return number(cost, 2) if cost is None else money(cost)


def _tokens(run: RunView) -> _Tokens | None:
    """Return the manifest's totals, which alone know the cost; else the sum over the results."""
    total = run.manifest.tokens
    if total is not None and total.n_endpoint + total.n_tokenizer:
        return _Tokens(total.prompt_tokens, total.completion_tokens, total.n_endpoint + total.n_tokenizer, total.cost)
    usages = [line.usage for line in run.results.values() if line.usage]
    if not usages:
        return None
    prompt, completion = sum(usage.prompt_tokens for usage in usages), sum(usage.completion_tokens for usage in usages)
    return _Tokens(prompt, completion, len(usages), None)


def _row(run: RunView, tokens: _Tokens | None) -> TokenRow:
    hits = number(run.manifest.cache_hits, 0)
    if tokens is None:
        unknown = number(None)
        return TokenRow(run.name, unknown, unknown, unknown, unknown, "", hits)
    return TokenRow(
        run.name,
        number(tokens.prompt, 0),
        number(tokens.completion, 0),
        number(tokens.a_line, 1),
        price(tokens.cost),
        _counted_by(run.manifest.tokens, tokens, run.completed),
        hits,
    )


def _counted_by(total: TokenTotal | None, tokens: _Tokens, completed: int) -> str:
    if total is None:
        unknown = completed - tokens.lines
        return f"{plural(unknown, 'line')} unknown" if unknown > 0 else ""
    lines = {"endpoint": total.n_endpoint, "tokenizer": total.n_tokenizer, "nobody": total.n_unknown}
    counters = [name for name, count in lines.items() if count]
    if len(counters) == 1 and not total.n_unknown:
        return counters[0]
    return ", ".join(f"{name} {lines[name]:,}" for name in counters)


def _difference(run: RunView, tokens: _Tokens, first: _Tokens) -> TokenRow:
    return TokenRow(
        f"{run.name}, difference",
        _change(tokens.prompt, first.prompt),
        _change(tokens.completion, first.completion),
        _share(tokens.a_line, first.a_line, signed(_minus(tokens.a_line, first.a_line), 1)),
        _share(tokens.cost, first.cost, _signed_price(_minus(tokens.cost, first.cost))),
        "",
        "",
    )


def _change(now: int, before: int) -> str:
    return _share(now, before, signed(now - before, 0))


def _share(now: float | None, before: float | None, change: str) -> str:
    """Return ``change`` as it is printed, with what it is in per cent of the value before."""
    if now is None or not before:
        return change
    return f"{change} ({signed(100 * (now / before - 1), 1)} %)"


def _signed_price(cost: float | None) -> str:
    if cost is None:
        return number(None)
    sign = "+" if cost > 0 else "−" if cost < 0 else ""
    return sign + price(abs(cost))


def _minus(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before
