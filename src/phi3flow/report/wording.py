"""Numbers and foreign text as a reader shall see them: aligned digits, true minus signs, nothing invisible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from phi3flow.records.scores import Judging

ABSENT = "–"
_MINUS = "−"


def number(value: float | None, digits: int = 3) -> str:
    """Return ``value`` with fixed digits and a true minus sign; a dash where there is none."""
    if value is None:
        return ABSENT
    text = f"{value:,.{digits}f}"
    if text.startswith("-"):
        return text[1:] if not text.strip("-0.,") else _MINUS + text[1:]
    return text


def signed(value: float | None, digits: int = 3) -> str:
    """Return ``value`` with its sign always written, except where it rounds to zero."""
    text = number(value, digits)
    return f"+{text}" if value is not None and value > 0 and text.strip("0.,") else text


def interval(low: float | None, high: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """Return "[low, high]", or an empty text where there is no interval."""
    if low is None or high is None:
        return ""
    write = signed if sign else number
    return f"[{write(low, digits)}, {write(high, digits)}]"


def p_value(p: float | None) -> str:
    """Return a p value to three digits; below 0.001 it says only that."""
    if p is None:
        return ABSENT
    return "< 0.001" if p < 0.001 else number(p)


def latency(ms: float | None) -> str:
    """Return milliseconds as "340 ms", "2.41 ms" or "1.24 s"."""
    if ms is None:
        return ABSENT
    if ms >= 1000:
        return f"{ms / 1000:,.2f} s"
    return f"{ms:.2f} ms" if ms < 10 else f"{ms:.0f} ms"


def judging_lines(judging: Judging) -> Iterator[str]:
    """Yield who judged, then how far each metric's repeated verdicts agree."""
    where = ", ".join(f"{use.name} ({use.host})" for use in judging.connections)
    who = judging.model or "a flow that names no model"
    also = [model for model in judging.answered_as if model != judging.model]
    answered = f", which answered as {', '.join(also)}" if also else ""
    prompts = f", prompts of {judging.package}" if judging.package else ""
    yield f"judged by {who}{answered}{f' at {where}' if where else ''}{prompts}"
    for metric, agreement in judging.agreement.items():
        alpha = "none, since all verdicts are the same" if agreement.alpha is None else f"{agreement.alpha:.3f}"
        yield (
            f"{metric}: Krippendorff's alpha {alpha}; all {judging.repeats} verdicts equal on {agreement.exact:.1%} of "
            f"{agreement.n} lines; standard deviation within a line {agreement.within_sd:.3f}"
        )


def absent_lines(absent: Mapping[str, str]) -> Iterator[str]:
    """Yield which metrics are absent, once for each reason, and why."""
    for reason in dict.fromkeys(absent.values()):
        names = ", ".join(name for name in absent if absent[name] == reason)
        yield f"no {names}: {reason.rstrip('.')}"


def metric_name(full_name: str) -> str:
    """Return a metric's name as prose: ``answer_match.value_accuracy`` is "value accuracy"."""
    return full_name.rpartition(".")[2].replace("_", " ")
