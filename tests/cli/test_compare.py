"""phi3flow compare: what a person and what a program gets to see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi3flow.cli.main import main
from phi3flow.records.scores import Estimate
from phi3flow.runs.folder import find_run
from tests.support.folders.answered_runs import make_run
from tests.support.folders.run_folders import ruler
from tests.support.folders.version_1_run import version_1_run
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint, Request

ROWS = [{"question": f"q{number}"} for number in range(40)]


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """Two scored runs of 40 lines, base and then tuned, where the second is better on value_accuracy."""
    folder = tmp_path / ".runs"
    for name, good in (("base", 4), ("tuned", 32)):
        right = [1.0] * good + [0.0] * (40 - good)
        scores = {"answer_match": {"value_accuracy": right, "f1": [0.5] * 40, "bleu": [None] * 40}}
        make_run(folder, name, ROWS, ["x"] * 40, scores=scores)
    return folder


def _compare(runs_dir: Path, *arguments: str) -> int:
    return main(["compare", *arguments, "--runs-dir", str(runs_dir)])


def test_json_has_the_documented_shape(runs_dir, capsys):
    assert _compare(runs_dir, "base", "tuned", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"baseline", "candidate", "failed", "n_paired", "unmatched", "metrics"}
    assert (printed["baseline"], printed["candidate"], printed["n_paired"]) == ("base", "tuned", 40)
    assert printed["unmatched"] == {"baseline": 0, "candidate": 0}
    metric = printed["metrics"]["answer_match.value_accuracy"]
    documented = {
        *("baseline", "candidate", "difference", "p", "p_permutation", "p_holm", "wins", "losses", "ties"),
        *("minimum_detectable_effect", "lines_needed", "verdict", "verdict_answered_only", "reason"),
    }
    assert documented <= set(metric)
    assert set(metric["difference"]) == {"mean", "low", "high"}
    assert (metric["baseline"], metric["candidate"], metric["wins"]) == (0.1, 0.8, 28)
    assert metric["difference"]["low"] > 0.5


def test_text_shows_full_names_intervals_and_the_verdict(runs_dir, capsys):
    assert _compare(runs_dir, "base", "tuned") == 0
    output = capsys.readouterr().out
    assert "tuned against base" in output
    assert "answer_match.value_accuracy" in output
    assert "+0.700 [+0.546, +0.819]" in output
    assert "28/0/12" in output
    assert "[-0.085, +0.085]" in output, "40 lines that tie leave room"
    assert "40 lines paired." in output
    assert "answer_match.value_accuracy: tuned is better than base: +0.700 (95 % interval" in " ".join(output.split())


def test_latest_and_previous_need_no_names(runs_dir, capsys):
    assert _compare(runs_dir, "@previous", "@latest", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["baseline"], printed["candidate"]) == ("base", "tuned")


def test_named_metrics_are_confirmatory(runs_dir, capsys):
    assert (
        _compare(runs_dir, "base", "tuned", "--metric", "f1", "--metric", "answer_match.value_accuracy", "--json") == 0
    )
    metrics = json.loads(capsys.readouterr().out)["metrics"]
    assert [name for name, metric in metrics.items() if metric["p_holm"] is not None] == [
        "answer_match.f1",
        "answer_match.value_accuracy",
    ]
    assert metrics["answer_match.f1"]["p_holm"] == 1.0


def test_several_candidates_are_a_matrix_against_the_baseline(runs_dir, capsys):
    right = [1.0] * 8 + [0.0] * 32
    make_run(runs_dir, "other", ROWS, ["x"] * 40, scores={"answer_match": {"value_accuracy": right, "f1": [0.5] * 40}})
    assert _compare(runs_dir, "base", "tuned", "other", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert set(printed) == {"baseline", "comparisons"}
    assert [one["candidate"] for one in printed["comparisons"]] == ["tuned", "other"]
    tuned, other = (one["metrics"]["answer_match.value_accuracy"] for one in printed["comparisons"])
    assert tuned["p_holm"] == pytest.approx(2 * tuned["p"]), "Holm counts both candidates"
    assert other["p_holm"] == other["p"]
    assert _compare(runs_dir, "base", "tuned", "other") == 0
    output = capsys.readouterr().out
    assert "against base" in output.splitlines()[0]
    assert "tuned against base" in output
    assert "other against base" in output


def test_slices_are_compared_by_a_column_of_the_data(tmp_path, capsys):
    runs_dir, rows = (
        tmp_path / ".runs",
        [{"question": f"q{n}", "kind": "[red]fact" if n < 30 else "chat"} for n in range(40)],
    )
    for name, right in (("base", [0.0] * 40), ("tuned", [1.0] * 30 + [0.0] * 10)):
        make_run(runs_dir, name, rows, ["x"] * 40, scores={"answer_match": {"f1": right, "bleu": right}})
    assert _compare(runs_dir, "base", "tuned", "--by", "kind", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    fact, chat = printed["slices"]
    assert (fact["column"], fact["value"], fact["n"], list(fact["metrics"])) == (
        *("kind", "[red]fact", 30),
        ["answer_match.f1"],
    )
    assert (fact["metrics"]["answer_match.f1"]["wins"], chat["metrics"]["answer_match.f1"]["ties"]) == (30, 10)
    assert fact["metrics"]["answer_match.f1"]["p_holm"] == pytest.approx(2 * fact["metrics"]["answer_match.f1"]["p"])
    assert _compare(runs_dir, "base", "tuned", "--by", "kind") == 0
    output = capsys.readouterr().out
    assert "kind: [red]fact" in output
    assert "1 of 2 slices have fewer than 30 lines" in output
    assert _compare(runs_dir, "base", "tuned", "--by", "colour") == 2
    assert "--by colour: the data have no such column; they have question, kind" in capsys.readouterr().err


def test_a_judge_prefers_one_of_each_two_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prefers the answer that names Paris, wherever it is shown."""
    runs_dir, rows = tmp_path / ".runs", [{"question": f"q{number}"} for number in range(6)]
    for name, answers in (("base", ["no"] * 5 + ["Paris"]), ("tuned", ["Paris"] * 5 + ["no"])):
        make_run(runs_dir, name, rows, answers, scores={"answer_match": {"f1": [0.5] * 6}})

    def prefer(request: Request) -> str:
        before, _, after = request.question.partition("[The End of Assistant A's Answer]")
        return f"[[{'A' if 'Paris' in before else 'B' if 'Paris' in after else 'C'}]]"

    monkeypatch.chdir(ROOT)
    with FaultEndpoint(prefer, key="judge-key") as endpoint:
        monkeypatch.setenv("JUDGE_BASE_URL", f"{endpoint.base_url}/v1")
        monkeypatch.setenv("JUDGE_KEY", "judge-key")
        flags = ("--judge", "judge_local", "--judge-model", "phi3")
        assert _compare(runs_dir, "base", "tuned", *flags, "--json") == 0
        judged = json.loads(capsys.readouterr().out)["judged"]
        assert len(endpoint.requests) == 12, "each pair in both orders"
        assert _compare(runs_dir, "base", "tuned", *flags) == 0
    assert (judged["wins"], judged["losses"], judged["flipped"], judged["judging"]["model"]) == (5, 1, 0, "phi3")
    text = " ".join(capsys.readouterr().out.split())
    assert "Judged: tuned is preferred in 5 of 6 pairs, base in 1, neither in 0: +0.667 [" in text
    assert "judge-key" not in text
    assert _compare(runs_dir, "base", "tuned", "--judge-model", "phi3") == 2


def test_unmatched_lines_are_shown(runs_dir, capsys):
    scores = {"answer_match": {"f1": [0.5] * 30}}
    make_run(
        runs_dir, "fewer", [*ROWS[:25], *({"question": f"other {i}"} for i in range(5))], ["x"] * 30, scores=scores
    )
    assert _compare(runs_dir, "base", "fewer") == 0
    assert "25 lines paired; only in the baseline: 15, only in the candidate: 5." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("base", "unscored"), "phi3flow score unscored --flow flows/eval/answer_match"),
        (("base", "elsewhere"), "have no line in common"),
        (("base", "nowhere"), "there is no run 'nowhere'"),
        (("base", "tuned", "--metric", "f3"), "metric 'f3' is unknown: there are answer_match.value_accuracy"),
        (("base", "tuned", "--pair-by", "colour"), "has no such column"),
    ],
)
def test_what_cannot_be_compared_exits_2_and_says_why(runs_dir, capsys, arguments, message):
    make_run(runs_dir, "unscored", ROWS, ["x"] * 40)
    make_run(runs_dir, "elsewhere", [{"question": "z"}], ["x"], scores={"answer_match": {"f1": [0.5]}})
    assert _compare(runs_dir, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_margin_makes_two_runs_equivalent_and_a_wrong_one_exits_2(runs_dir, capsys):
    flags = ("--metric", "f1", "--margin", "0.3", "--json")
    assert _compare(runs_dir, "base", "tuned", *flags) == 0
    metric = json.loads(capsys.readouterr().out)["metrics"]["answer_match.f1"]
    assert (metric["verdict"], metric["margin"], metric["verdict_answered_only"]) == ("equivalent", 0.3, "equivalent")
    assert _compare(runs_dir, "base", "tuned", "--metric", "f1", "--margin", "f1=-1") == 2
    assert "--margin f1=-1: is not NUMBER or METRIC=NUMBER" in capsys.readouterr().err
    assert _compare(runs_dir, "base", "tuned", "--metric", "f1", "--margin", "value_accuracy=0.1") == 2
    assert "--margin value_accuracy=0.1: metric 'value_accuracy' is unknown" in capsys.readouterr().err


def test_failed_lines_are_shown_with_both_readings_and_the_command_that_tries_them_again(runs_dir, capsys):
    right = [1.0] * 25 + [0.0] * 15
    answers = ["x"] * 26 + [None] * 14
    make_run(runs_dir, "failing", ROWS, answers, scores={"answer_match": {"value_accuracy": right}})
    assert _compare(runs_dir, "tuned", "failing", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    metric = printed["metrics"]["answer_match.value_accuracy"]
    assert (printed["failed"], metric["failed"]) == (
        {"baseline": 0, "candidate": 14},
        {"baseline": 0, "candidate": 14},
    )
    assert (metric["n"], metric["answered_only"]["n"]) == (40, 26)
    assert "14 lines of failing failed by the endpoint (503: 14)" in printed["notes"][0]
    assert _compare(runs_dir, "tuned", "failing") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "40 lines paired; 14 lines of failing failed." in output
    assert "Both answered 26 lines: undecided, -0.038" in output
    assert "give its batch-run command again" in output


def test_slices_have_p_holm_failures_and_a_verdict(tmp_path, capsys):
    runs_dir, rows = tmp_path / ".runs", [{"question": f"q{n}", "kind": "ab"[n % 2]} for n in range(40)]
    for name, right, answers in (("base", [0.0] * 40, ["x"] * 40), ("tuned", [1.0, 0.0] * 20, ["x"] * 39 + [None])):
        make_run(runs_dir, name, rows, answers, scores={"answer_match": {"f1": right}})
    assert _compare(runs_dir, "base", "tuned", "--by", "kind") == 0
    output = capsys.readouterr().out
    header, first, second = (line for line in output.splitlines() if line.startswith((" slice", " kind: ")))
    assert [name in header for name in ("p_holm", "failed", "verdict")] == [True] * 3
    assert "p (Holm)" not in output
    assert first.split()[-2:] == ["0/0", "better"]
    assert second.split()[-2:] == ["0/1", "undecided"]


def test_runs_that_were_measured_by_different_rulers_exit_2_with_the_command(runs_dir, capsys):
    other = find_run("tuned", runs_dir)
    metrics = other.metrics("answer_match")
    edited = metrics.model_copy(update={"evaluation": ruler("answer_match", "f" * 64)})
    other.write_scores("answer_match", other.scores("answer_match"), edited)
    assert _compare(runs_dir, "base", "tuned") == 2
    error = capsys.readouterr().err
    assert "answer_match measured base and tuned differently" in error
    assert "phi3flow score tuned --flow flows/eval/answer_match" in error


def test_runs_that_have_only_aggregated_metrics_are_shown_with_that_said(runs_dir, capsys):
    for name, accuracy in (("base", 0.5), ("tuned", 0.75)):
        run = find_run(name, runs_dir)
        scores = [line.model_copy(update={"scores": {}}) for line in run.scores("answer_match")]
        estimates = {"accuracy": Estimate(mean=accuracy, n=40, method="aggregation")}
        run.write_scores("answer_match", scores, run.metrics("answer_match").model_copy(update={"metrics": estimates}))
    assert _compare(runs_dir, "base", "tuned") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "answer_match.accuracy 0.500 0.750 +0.250" in output
    assert "Only the whole run has it, not its lines: there is no interval and no test." in output


def test_a_run_that_the_first_builds_scored_is_opened_and_refused_with_the_command(tmp_path, capsys):
    old = version_1_run(tmp_path / ".runs")
    make_run(old.path.parent, "new", ROWS, ["x"] * 40, scores={"answer_match": {"f1": [0.5] * 40}})
    assert _compare(old.path.parent, "old", "new") == 2
    error = capsys.readouterr().err
    assert "the scores of old are an earlier build's, which did not note what measured them" in error
    assert "phi3flow score old --flow flows/eval/answer_match" in error
