"""What a run that was tested while it ran found, in a sentence or two."""

from __future__ import annotations

from phi3flow.records.comparisons import Difference, StoppedEarly
from phi3flow.text import confidence


def describe_early_stop(early: StoppedEarly) -> str:
    """Return the verdict, or that there is none, with what it rests on."""
    if not early.n:
        return f"{early.metric} against {early.baseline}: undecided: no conversation is whole yet: raise --limit"
    share = f"{confidence(early.level)} interval"
    facts = [_interval(share, early.difference), f"p = {early.p:.2g}", f"{early.n:,} lines"]
    facts += [f"{early.wins:,} won, {early.losses:,} lost, {early.ties:,} tied"]
    if early.failed.baseline or early.failed.candidate:
        facts.append(f"failed: {early.failed.baseline:,} of {early.baseline}, {early.failed.candidate:,} of this run")
    finding = f"{early.difference.mean:+.3f} ({', '.join(facts)})"
    if early.verdict == "undecided":
        reason = f": {early.reason}" if early.reason else ""
        text = f"tested while it ran: {early.metric} is undecided against {early.baseline}'s{reason}: {finding}"
    else:
        text = f"stopped early: {early.metric} is {early.verdict} than {early.baseline}'s: {finding}"
        text += "; a run stops when the difference is large, so it tends to be too large"
    if other := early.answered_only:
        mean = "none" if other.difference.mean is None else f"{other.difference.mean:+.3f}"
        text += f"; over lines that both answered {mean} ({_interval(share, other.difference)}, {other.n:,} lines)"
    return text


def _interval(share: str, difference: Difference) -> str:
    if difference.low is None or difference.high is None:
        return f"no {share}"
    return f"{share} {difference.low:+.3f} to {difference.high:+.3f}"
