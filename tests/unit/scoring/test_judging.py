"""Pairwise judging: both orders, flips as ties, failures left out, equal answers not asked."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import ColumnMappingError, ConfigError
from phi3flow.flows import load_flow
from phi3flow.records.comparisons import Preferences
from phi3flow.scoring.judging import judge_pairs
from tests.support.folders.answered_runs import make_run
from tests.support.paths import FLOWS
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Scripted
from tests.support.servers.scripted_judge import KEY

FLOW = FLOWS / "eval" / "answer_preference"
ANSWER = r"\[The Start of Assistant {}'s Answer\]\n(.*?)\n\[The End of Assistant"
Prefer = Callable[[str, str], Scripted]


def _judge(prefer: Prefer) -> FaultEndpoint:
    """A judge that is given the two answers in the order in which they are shown."""

    def reply(request: Any) -> Scripted:
        shown = [re.search(ANSWER.format(name), request.question, re.DOTALL) for name in "AB"]
        return prefer(*(one.group(1) for one in shown if one))

    return FaultEndpoint(reply, key=KEY)


def _compare(
    folder: Path, prefer: Prefer, before: list[str | None], after: list[str | None], **changes: Any
) -> tuple[Preferences, FaultEndpoint]:
    rows = [{"question": f"Question {number}?", **changes.pop(f"row_{number}", {})} for number in range(len(before))]
    runs = [make_run(folder, name, rows, answers) for name, answers in (("base", before), ("tuned", after))]
    flow = load_flow(FLOW).with_connections({"compare_answers.connection": "j", "compare_answers.model": "phi3"})
    with _judge(prefer) as endpoint:
        value = {"base_url": f"{endpoint.base_url}/v1", "api_key": KEY}
        connection = {"type": "OpenAIConnection", "module": "promptflow.connections", "value": value}
        return judge_pairs(*runs, flow=flow, connections=lambda _: connection, **changes), endpoint


def _longer(first: str, second: str) -> str:
    """The longer answer, wherever it stands."""
    if len(first) == len(second):
        return "Both are fine. [[C]]"
    return f"It says more. [[{'A' if len(first) > len(second) else 'B'}]]"


def test_a_win_is_preferred_in_both_orders(tmp_path: Path) -> None:
    found, endpoint = _compare(tmp_path, _longer, ["no", "no", "certainly", "aa"], ["yes!", "sure", "no", "bb"])
    assert (found.baseline, found.candidate) == ("base", "tuned")
    assert (found.n, found.wins, found.losses, found.ties, found.flipped) == (4, 2, 1, 1, 0)
    assert found.preference.mean == 0.25
    assert found.preference.low is not None
    assert found.first_share == 0.5
    assert len(endpoint.requests) == 8


def test_a_verdict_that_follows_the_order_is_a_tie_and_shows_as_such(tmp_path: Path) -> None:
    found, _ = _compare(tmp_path, lambda first, second: "[[A]]", ["a", "b", "c"], ["x", "y", "z"])
    assert (found.wins, found.losses, found.ties, found.flipped) == (0, 0, 3, 3)
    assert found.first_share == 1.0
    assert (found.preference.mean, found.p) == (0.0, 1.0)
    assert found.preference.low == pytest.approx(-0.5615, abs=1e-4), "three ties leave room: Tango's z^2 / (n + z^2)"


def test_p_is_the_exact_sign_tests(tmp_path: Path) -> None:
    found, _ = _compare(tmp_path, _longer, ["no"] * 8 + ["certainly"], ["yes!"] * 8 + ["no"])
    assert (found.wins, found.losses) == (8, 1)
    assert found.p == pytest.approx(2 * (1 + 9) / 2**9)


def test_lines_of_one_conversation_are_no_evidence_of_their_own(tmp_path: Path) -> None:
    shared = {f"row_{number}": {"conversation_id": "one"} for number in range(8)}
    found, _ = _compare(tmp_path, _longer, ["no"] * 8, ["yes!"] * 8, **shared)
    assert found.wins == 8
    assert found.p == 1.0


def test_equal_answers_are_a_tie_that_nobody_is_asked_about(tmp_path: Path) -> None:
    found, endpoint = _compare(tmp_path, _longer, ["same", "no"], ["same", "longer"])
    assert (found.n, found.wins, found.ties) == (2, 1, 1)
    assert len(endpoint.requests) == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [("I cannot choose.", "no verdict"), ("[[A]] or else [[B]]", "the verdicts A, B"), (Reply(400), "400")],
)
def test_a_pair_without_a_verdict_in_an_order_is_left_out_and_counted(
    tmp_path: Path, reply: Scripted, reason: str
) -> None:
    def prefer(first: str, second: str) -> Scripted:
        return reply if first == "odd" else _longer(first, second)

    found, _ = _compare(tmp_path, prefer, ["odd", "no"], ["even", "yes!"])
    assert (found.n, found.n_failed, found.wins) == (1, 1, 1)
    assert found.failure is not None
    assert reason in found.failure.message


def test_a_refusal_for_now_is_tried_again(tmp_path: Path) -> None:
    refused = [Reply(429, headers={"Retry-After": "0.01"}), Reply(503), Reply(fault="reset")]

    def prefer(first: str, second: str) -> Scripted:
        return refused.pop() if refused else _longer(first, second)

    found, _ = _compare(tmp_path, prefer, ["no", "no"], ["yes!", "yes!"])
    assert (found.n, found.n_failed, found.wins) == (2, 0, 2)


def test_failed_lines_are_no_pairs_and_no_pair_at_all_is_refused(tmp_path: Path) -> None:
    found, _ = _compare(tmp_path / "1", _longer, ["no", None], ["yes!", "yes!"])
    assert (found.n, found.n_failed) == (1, 0)
    with pytest.raises(ConfigError, match="no line in common"):
        _compare(tmp_path / "2", _longer, [None], ["yes!"])


def test_who_judged_is_kept_without_a_key(tmp_path: Path) -> None:
    found, endpoint = _compare(tmp_path, _longer, ["no"], ["yes!"])
    assert found.judging is not None
    assert [use.host for use in found.judging.connections] == [endpoint.base_url.removeprefix("http://")]
    assert (found.judging.model, list(found.judging.prompts)) == ("phi3", ["preference"])
    assert KEY not in found.model_dump_json()


def test_the_context_and_the_right_answer_are_shown_where_a_line_has_them(tmp_path: Path) -> None:
    row = {"context": "The manual says 24.", "ground_truth": "24 months"}
    _, endpoint = _compare(
        tmp_path, _longer, ["a", "b"], ["yes!", "sure"], row_0=row, row_1={"context": "", "ground_truth": ""}
    )
    prompts = {"Question 0?" in one.question: one.question for one in endpoint.requests}
    assert "[The Start of the Context]\nThe manual says 24.\n" in prompts[True]
    assert "[The Start of the Reference Answer]\n24 months\n" in prompts[True]
    assert "Context]" not in prompts[False]
    assert "Reference" not in prompts[False]


def test_a_flow_that_compares_no_answers_and_an_output_that_is_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no output 'text', but answer"):
        _compare(tmp_path / "1", _longer, ["a"], ["b"], output="text")
    runs = [make_run(tmp_path / "2", name, [{"question": "?"}], [name]) for name in ("a", "b")]
    other = load_flow(FLOW.parent / "answer_match")
    with pytest.raises(ColumnMappingError, match="has no input first or second"):
        judge_pairs(*runs, flow=other, connections=lambda name: {})
