"""What batch-run says of a run that was tested while it ran."""

from __future__ import annotations

from typing import Any

from phi3flow.cli.terminal.early_stop_line import describe_early_stop
from phi3flow.records.comparisons import AnsweredOnly, Difference, Sides, StoppedEarly


def _early(**changes: Any) -> StoppedEarly:
    fields = {
        "metric": "answer_match.f1",
        "baseline": "base",
        "verdict": "better",
        "difference": Difference(mean=0.25, low=0.05, high=0.45),
        "p": 0.012,
        "n": 60,
        "level": 0.025,
        "wins": 20,
        "losses": 5,
        "ties": 35,
    }
    return StoppedEarly.model_validate(fields | changes)


def test_a_stop_says_what_it_rests_on_and_that_the_difference_tends_to_be_too_large() -> None:
    assert describe_early_stop(_early()) == (
        "stopped early: answer_match.f1 is better than base's: +0.250 (97.5 % interval +0.050 to +0.450, p = 0.012, "
        "60 lines, 20 won, 5 lost, 35 tied); a run stops when the difference is large, so it tends to be too large"
    )


def test_a_run_without_a_verdict_says_why_and_names_the_failures_and_the_other_reading() -> None:
    other = AnsweredOnly(baseline=0.4, candidate=0.9, difference=Difference(mean=0.5, low=0.2, high=0.8), p=0.001, n=40)
    early = _early(
        verdict="undecided", level=0.05, failed=Sides(candidate=20), answered_only=other, reason="failed lines decide"
    )
    assert describe_early_stop(early) == (
        "tested while it ran: answer_match.f1 is undecided against base's: failed lines decide: +0.250 (95 % interval "
        "+0.050 to +0.450, p = 0.012, 60 lines, 20 won, 5 lost, 35 tied, failed: 0 of base, 20 of this run); over "
        "lines that both answered +0.500 (95 % interval +0.200 to +0.800, 40 lines)"
    )


def test_a_limit_below_the_first_conversation_tests_nothing() -> None:
    early = _early(verdict="undecided", n=0, difference=Difference(mean=None), p=1.0)
    assert describe_early_stop(early) == (
        "answer_match.f1 against base: undecided: no conversation is whole yet: raise --limit"
    )
