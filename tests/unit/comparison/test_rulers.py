"""Runs are compared only where one ruler measured both; else the difference is named, and the command that mends it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phi3flow.comparison.compare import compare_runs
from phi3flow.errors import ConfigError
from phi3flow.flows import fingerprint
from phi3flow.records.scores import JudgeIdentity, Ruler
from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import ruler
from tests.support.paths import ROOT
from tests.unit.comparison.scored import rescored, scored

FIRST, SECOND = "a" * 64, "b" * 64
MINE = ruler("answer_match", SECOND).model_copy(update={"flow": "mine/answer_match"})


@pytest.fixture
def runs(tmp_path: Path) -> tuple[RunFolder, RunFolder]:
    return scored(tmp_path, "base", {"f1": [0.1, 0.4, 0.5]}), scored(tmp_path, "tuned", {"f1": [0.2, 0.5, 0.9]})


def _measure(run: RunFolder, measured_by: Ruler | None, *, folder: str = "answer_match") -> None:
    """Write the run's scores once more, as that ruler's, into that folder."""
    metrics = run.metrics("answer_match").model_copy(update={"evaluation": measured_by})
    run.write_scores(folder, run.scores("answer_match"), metrics)


def _mapped(source: str, *outputs: str, **more: str) -> Ruler:
    mapping = {"answer": source, **more}
    return ruler("answer_match").model_copy(update={"column_mapping": mapping, "run_outputs": list(outputs)})


def _judged(model: str, **prompts: str) -> Ruler:
    judge = JudgeIdentity(model=model, package="promptflow-evals 0.3.5", prompts=prompts)
    return ruler("answer_match").model_copy(update={"judge": judge})


def _refused(before: RunFolder, after: RunFolder) -> str:
    with pytest.raises(ConfigError) as refusal:
        compare_runs(before, after)
    return str(refusal.value)


def test_an_evaluation_flow_that_was_edited_in_between_is_refused(runs: tuple[RunFolder, RunFolder]) -> None:
    base, tuned = runs
    _measure(base, ruler("answer_match", FIRST))
    _measure(tuned, ruler("answer_match", SECOND))
    assert _refused(base, tuned) == (
        "answer_match measured base and tuned differently: its flow was flows/eval/answer_match of fingerprint "
        "aaaaaaaa, then flows/eval/answer_match of bbbbbbbb: phi3flow score base --flow flows/eval/answer_match; "
        "phi3flow score tuned --flow flows/eval/answer_match"
    )


def test_a_flow_in_the_working_directory_is_named_from_there(
    runs: tuple[RunFolder, RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rulers have whole paths."""
    base, tuned = runs
    monkeypatch.chdir(tmp_path)
    _measure(base, ruler("answer_match").model_copy(update={"flow": str(tmp_path / "evals/tone")}))
    _measure(tuned, None)
    assert _refused(tuned, base).endswith(": phi3flow score tuned --flow flows/eval/answer_match")
    _measure(base, ruler("tone", FIRST).model_copy(update={"flow": str(tmp_path / "evals/tone")}))
    _measure(tuned, ruler("tone", SECOND).model_copy(update={"flow": str(tmp_path / "evals/tone")}))
    assert "its flow was evals/tone of fingerprint aaaaaaaa" in _refused(base, tuned)


def test_only_the_run_that_was_measured_by_an_earlier_flow_is_to_be_scored_anew(
    runs: tuple[RunFolder, RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned = runs
    monkeypatch.chdir(ROOT)
    _measure(base, ruler("answer_match", FIRST))
    _measure(tuned, ruler("answer_match", fingerprint(ROOT / "flows/eval/answer_match")))
    assert _refused(base, tuned).endswith(": phi3flow score base --flow flows/eval/answer_match")


@pytest.mark.parametrize(
    ("before", "after", "is_alike"),
    [
        (_mapped("${run.outputs.answer}", "answer"), _mapped("${run.outputs.answer}", "answer", "usage"), True),
        (_mapped("${run.outputs.answer}", "answer"), _mapped("${run.outputs.reply}", "reply"), True),
        (_mapped("${run.outputs.answer}", "answer"), _mapped("${run.outputs.reply}", "reply", "answer"), False),
        (_mapped("${run.outputs.answer}", "answer", "reply"), _mapped("${run.outputs.reply}", "reply"), False),
        (_mapped("${run.outputs.answer}", "answer"), _mapped("${data.answer}", "answer"), False),
        (
            _mapped("${run.outputs.answer}", "answer", ground_truth="${data.ground_truth}"),
            _mapped("${run.outputs.answer}", "answer", ground_truth="${data.expected}"),
            False,
        ),
        (
            _mapped("${run.outputs.answer}", "answer", values="${data.values}"),
            _mapped("${run.outputs.answer}", "answer"),
            False,
        ),
        (_judged("gpt-4o", f1="1"), _judged("gpt-4o", f1="1"), True),
        (_judged("gpt-4o", f1="1"), _judged("phi3", f1="1"), False),
        (_judged("gpt-4o", f1="1"), _judged("gpt-4o", f1="2"), False),
        (_judged("gpt-4o", f1="1"), ruler("answer_match"), False),
        (None, ruler("answer_match"), False),
        (None, None, False),
    ],
)
def test_what_was_measured_by_another_ruler_is_refused(
    runs: tuple[RunFolder, RunFolder], before: Ruler | None, after: Ruler | None, is_alike: bool
) -> None:
    base, tuned = runs
    _measure(base, before)
    _measure(tuned, after)
    if is_alike:
        assert compare_runs(base, tuned).n_paired == compare_runs(tuned, base).n_paired == 3
    else:
        for left, right in (runs, runs[::-1]):
            assert re.search("phi3flow score (base|tuned) --flow flows/eval/answer_match", _refused(left, right))


def test_a_mapping_that_differs_is_named_with_the_mapping_that_scores_alike(runs: tuple[RunFolder, RunFolder]) -> None:
    base, tuned = runs
    _measure(base, _mapped("${run.outputs.answer}", "answer"))
    _measure(tuned, _mapped("${run.outputs.reply}", "answer", "reply"))
    problem = "its input answer came from ${run.outputs.answer} and from ${run.outputs.reply}"
    command = "phi3flow score tuned --flow flows/eval/answer_match --column-mapping 'answer=${run.outputs.answer}'"
    assert _refused(base, tuned) == f"answer_match measured base and tuned differently: {problem}: {command}"


def test_how_failed_lines_are_read_is_part_of_the_ruler_and_repeats_of_a_judge_are_not(
    runs: tuple[RunFolder, RunFolder],
) -> None:
    base, tuned = runs
    rescored(tuned, repeats=5)
    assert compare_runs(base, tuned).n_paired == 3
    rescored(tuned, failed_lines="left out")
    assert "failed lines are read as 'least' and as 'left out'" in _refused(base, tuned)
    assert "phi3flow score tuned --flow flows/eval/answer_match --failed-lines least" in _refused(base, tuned)


def test_scores_of_the_first_builds_are_refused_with_the_command(runs: tuple[RunFolder, RunFolder]) -> None:
    base, tuned = runs
    _measure(base, None)
    assert _refused(base, tuned) == (
        "answer_match: the scores of base are an earlier build's, which did not note what measured them: "
        "phi3flow score base --flow flows/eval/answer_match"
    )


def test_a_ruler_is_known_by_its_fingerprint_whatever_its_folder(runs: tuple[RunFolder, RunFolder]) -> None:
    """The same flow is scores/answer_match of the one and scores/answer_match-aaaaaaaa of the other."""
    base, tuned = runs
    _measure(base, ruler("answer_match", FIRST))
    _measure(tuned, MINE)
    _measure(tuned, ruler("answer_match", FIRST), folder="answer_match-aaaaaaaa")
    for left, right in ((base, tuned), (tuned, base)):
        comparison = compare_runs(left, right)
        assert list(comparison.metrics) == ["answer_match.f1"]
        assert comparison.notes == []


def test_two_flows_of_one_name_that_measured_both_runs_are_told_apart(runs: tuple[RunFolder, RunFolder]) -> None:
    base, tuned = runs
    _measure(base, ruler("answer_match", FIRST))
    _measure(base, MINE, folder="answer_match-bbbbbbbb")
    _measure(tuned, MINE)
    _measure(tuned, ruler("answer_match", FIRST), folder="answer_match-aaaaaaaa")
    assert sorted(compare_runs(base, tuned).metrics) == ["answer_match-aaaaaaaa.f1", "answer_match-bbbbbbbb.f1"]


def test_two_flows_of_one_name_are_refused_with_the_command_that_scores_by_the_first(
    runs: tuple[RunFolder, RunFolder],
) -> None:
    base, tuned = runs
    _measure(base, ruler("answer_match", FIRST))
    _measure(tuned, MINE)
    assert _refused(base, tuned).endswith("bbbbbbbb: phi3flow score tuned --flow flows/eval/answer_match")


def test_an_evaluation_that_differs_beside_the_one_compared_is_left_out_with_a_note(
    runs: tuple[RunFolder, RunFolder],
) -> None:
    base, tuned = runs
    _measure(base, ruler("tone", FIRST), folder="tone")
    _measure(tuned, ruler("tone", SECOND), folder="tone")
    comparison = compare_runs(base, tuned)
    assert list(comparison.metrics) == ["answer_match.f1"]
    assert comparison.notes[0].startswith("tone is left out. tone measured base and tuned differently: ")
    with pytest.raises(ConfigError, match="tone measured base and tuned differently"):
        compare_runs(base, tuned, metrics=["tone.f1"])


def test_what_a_comparison_is_made_for_by_default_is_not_replaced_by_what_is_alike(tmp_path: Path) -> None:
    runs = [scored(tmp_path, name, {"f1": [0.1, 0.4, 0.5]}) for name in ("base", "tuned")]
    for run, measured_by in zip(runs, (FIRST, SECOND), strict=True):
        scores = [score.model_copy(update={"scores": {"tone": 0.5}}) for score in run.scores("answer_match")]
        run.write_scores("tone", scores, run.metrics("answer_match").model_copy(update={"evaluation": ruler("tone")}))
        _measure(run, ruler("answer_match", measured_by))
    assert "answer_match measured base and tuned differently" in _refused(runs[0], runs[1])
    assert next(iter(compare_runs(runs[0], runs[1], metrics=["tone"]).metrics)) == "tone.tone"
