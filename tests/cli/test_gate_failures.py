"""phi3flow gate over really scored runs: lines that failed, lines that a judge failed, and unlike rulers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from phi3flow.records.runs import RunParameters
from phi3flow.runs.folder import RunFolder
from tests.support.command_line import Done, phi3flow
from tests.support.folders.answered_runs import make_run
from tests.support.folders.run_folders import line, write_run
from tests.support.paths import FLOWS, ROOT

ANSWER_MATCH = FLOWS / "eval/answer_match"
JSON = ["--baseline", "base", "--json"]
ROWS = [{"question": f"q{number}", "ground_truth": "Paris", "values": ["Paris"]} for number in range(120)]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return tmp_path


def _make(project: Path, name: str, answers: Sequence[str | None], rows: Sequence[Mapping[str, Any]] = ROWS) -> None:
    make_run(project / ".runs", name, rows[: len(answers)], answers)


def _score(project: Path, *names: str, flow: Path = ANSWER_MATCH, flags: Sequence[str] = ()) -> None:
    for name in names:
        done = phi3flow("score", name, "--flow", flow, *flags, cwd=project)
        assert done.returncode in (0, 1), done.stderr


def _gate(project: Path, *rules: str, arguments: Sequence[str] = ("--baseline", "base")) -> Done:
    return phi3flow("gate", "tuned", *(word for rule in rules for word in ("--rule", rule)), *arguments, cwd=project)


def _results(done: Done) -> list[dict[str, Any]]:
    return list(json.loads(done.stdout)["rules"])


def _flow(folder: Path, body: str, *, tags: str = "") -> Path:
    """Write an evaluation flow: ``body`` makes a score of ``answer`` and ``ground_truth``."""
    folder.mkdir(parents=True, exist_ok=True)
    code = f"from promptflow.core import tool\n\n\n@tool\ndef grade(answer: str, ground_truth: str) -> float:\n{body}"
    (folder / "grade.py").write_text(code, encoding="utf-8")
    (folder / "flow.dag.yaml").write_text(
        f"tags: {{{tags}}}\n"
        "inputs:\n  answer: {type: string}\n  ground_truth: {type: string}\n"
        "outputs:\n  points: {type: double, reference: '${grade.output}'}\n"
        "nodes:\n- name: grade\n  type: python\n  source: {type: code, path: grade.py}\n"
        "  inputs: {answer: '${inputs.answer}', ground_truth: '${inputs.ground_truth}'}\n",
        encoding="utf-8",
    )
    return folder


# lines that failed in the run


RULES = [
    "value_accuracy better than baseline",
    "value_accuracy better than baseline by 0.01",
    "value_accuracy no worse than baseline by 0.05",
    "f1 >= 0.6",
]


@pytest.fixture
def selective(project: Path) -> Path:
    """base answers 120 lines, 56 of them rightly; tuned answers 55 rightly, 10 wrongly, and fails on the others."""
    _make(project, "base", ["Paris"] * 56 + ["Rome"] * 64)
    _make(project, "tuned", ["Paris"] * 55 + ["Rome"] * 10 + [None] * 55)
    return project


def test_a_candidate_that_fails_on_what_it_would_get_wrong_passes_nothing(selective):
    _score(selective, "base", "tuned")
    done = _gate(selective, *RULES, arguments=JSON)
    assert done.returncode == 1
    results = _results(done)
    assert "passed" not in [result["outcome"] for result in results]
    assert [result["failed"]["candidate"] for result in results] == [55] * 4
    assert json.loads(done.stdout)["failures"] == {"baseline": 0, "candidate": 55}
    for result in results:
        assert "55" in result["sentence"].split("Failed in the run: ")[1]
    assert results[3]["answered_only"]["outcome"] == "passed", "what an earlier build said"


def test_failures_are_named_in_the_headline_the_table_the_documents_and_the_way_out(selective):
    _score(selective, "base", "tuned")
    files = ["--markdown", "gate.md", "--junit", "gate.xml", "--baseline", "base"]
    done = _gate(selective, RULES[0], "f1 >= 0.9", arguments=files)
    head, *_ = done.stdout.splitlines()
    assert head.endswith("tuned against base; failed lines: 0 in base, 55 in tuned")
    assert "0 / 55" in done.stdout
    assert "55 lines of tuned failed by the endpoint (503: 55): give its batch-run command again" in done.stdout
    markdown = (selective / "gate.md").read_text("utf-8")
    assert "failed lines: 0 in base, 55 in tuned" in markdown.splitlines()[0]
    assert "| 0 / 55 |" in markdown
    suite = ElementTree.parse(selective / "gate.xml").getroot().find("testsuite")
    assert suite is not None
    for failure in suite.iter("failure"):
        assert "Failed in the run" in failure.get("message", "")


def test_left_out_by_choice_the_answered_lines_decide_and_it_is_said(selective):
    _score(selective, "base", "tuned", flags=["--failed-lines", "left-out"])
    done = _gate(selective, "value_accuracy >= 0.6", arguments=["--json"])
    [result] = _results(done)
    assert (result["outcome"], result["n"], result["answered_only"]) == ("passed", 65, None)
    assert (
        "Failed in the run: 55 lines; left out, as the scores were made with --failed-lines left-out."
        in (result["sentence"])
    )


def test_lines_whose_row_says_that_a_metric_does_not_apply_are_not_charged(project):
    rows = [json.loads(line) for line in (ROOT / "data/test_lines.jsonl").read_text("utf-8").splitlines()]
    wrong = [number % 9 < 4 for number in range(len(rows))]
    truths = [str(row["ground_truth"]) for row in rows]
    _make(project, "base", ["no idea" if bad else truth for bad, truth in zip(wrong, truths, strict=True)], rows)
    _make(project, "tuned", [None if bad else truth for bad, truth in zip(wrong, truths, strict=True)], rows)
    _score(project, "base", "tuned")
    rules = ["value_accuracy better than baseline", "value_accuracy no worse than baseline by 0.05"]
    results = _results(_gate(project, *rules, arguments=JSON))
    with_values = [bool(row["values"]) for row in rows]
    applicable = sum(bad and has for bad, has in zip(wrong, with_values, strict=True))
    for result in results:
        assert (result["n"], result["failed"]) == (sum(with_values), {"baseline": 0, "candidate": applicable})
    assert results[0]["outcome"] == "undecided"
    assert results[0]["value"] == pytest.approx(0.0, abs=0.02)


def test_where_lower_is_better_a_failed_line_is_a_defect(project):
    flow = _flow(project / "defects", "    return float(answer != ground_truth)\n", tags="lower_is_better: points")
    _make(project, "base", ["Paris"] * 120)
    _make(project, "tuned", ["Paris"] * 100 + [None] * 20)
    _score(project, "base", "tuned", flow=flow)
    results = _results(
        _gate(
            project,
            "points <= 10%",
            "points no worse than baseline by 0.05",
            arguments=JSON,
        )
    )
    assert [result["value"] for result in results] == pytest.approx([20 / 120] * 2)
    assert [result["outcome"] for result in results] == ["undecided"] * 2
    assert all("where lower is better" in result["sentence"] for result in results)


def test_a_metric_without_a_range_is_undecided_while_failures_differ(project):
    flow = _flow(project / "points", "    return 1.0 + 9 * len(answer)\n")
    answers = ["four", "seven"] * 60
    _make(project, "base", [None, None, *answers[2:]])
    better = [answer + "!" * (1 + number % 3) for number, answer in enumerate(answers)]
    _make(project, "tuned", [None, None, *better[2:]])
    _score(project, "base", "tuned", flow=flow)
    rule = "points better than baseline by 1"
    assert _results(_gate(project, rule, arguments=JSON))[0]["outcome"] == "passed", "the same lines failed"
    [alone] = _results(_gate(project, "points >= 2", arguments=["--json"]))
    assert alone["outcome"] == "undecided"
    assert "nobody can say what the failed lines count as" in alone["sentence"]
    _make(project, "more", [None, None, None, *better[3:]])
    _score(project, "more", flow=flow)
    done = phi3flow("gate", "more", "--rule", rule, *JSON, cwd=project)
    [result] = _results(done)
    assert (done.returncode, result["outcome"], result["lines_needed"]) == (1, "undecided", None)
    assert "score_ranges" in result["sentence"]


# lines that failed in scoring


def test_failures_of_the_judge_are_counted_apart_on_either_side(project):
    judge = "    if '?' in answer:\n        raise ValueError('no verdict')\n    return float(answer == ground_truth)\n"
    flow = _flow(project / "judge", judge)
    _make(project, "base", ["Rome"] * 118 + ["Rome?"] * 2)
    _make(project, "tuned", ["Paris?"] * 5 + ["Paris"] * 115)
    _score(project, "base", "tuned", flow=flow)
    done = _gate(
        project,
        "points better than baseline by 0.5",
        "failed <= 4%",
        "failed <= 5%",
        arguments=JSON,
    )
    better, strict, lenient = _results(done)
    assert (better["outcome"], better["failed"]) == ("passed", {"baseline": 0, "candidate": 0})
    assert better["unscored"] == {"baseline": 2, "candidate": 5}
    assert "Not scored: 2 lines of the baseline, 5 of the run" in better["sentence"]
    assert [strict["outcome"], lenient["outcome"]] == ["failed", "passed"]
    assert json.loads(done.stdout)["failures"] == {"baseline": 0, "candidate": 0}


def test_lines_that_ran_three_times_are_counted_once(project):
    judge = "    if '?' in answer:\n        raise ValueError('no verdict')\n    return float(answer == ground_truth)\n"
    flow = _flow(project / "judge", judge)
    answers = ["Paris?" if number % 10 < 5 else "Paris" for number in range(30)]
    results = [line(number, answer, line_id=f"{number % 10}~{number // 10}") for number, answer in enumerate(answers)]
    repeated = RunParameters(repeats=3, lines=10)
    write_run(project / ".runs/tuned", results, rows=ROWS[:10], parameters=repeated)
    _score(project, "tuned", flow=flow)
    rules = ["failed <= 20%", "failed <= 50%", "lines >= 10", "lines >= 5", "points >= 0.1"]
    done = _gate(project, *rules, arguments=["--json"])
    results = _results(done)
    assert [result["outcome"] for result in results[:4]] == ["failed", "passed", "failed", "passed"]
    assert [result["value"] for result in results[:4]] == [0.5, 0.5, 5, 5]
    assert results[4]["unscored"]["candidate"] == 5


# what a comparison calls better


@pytest.mark.parametrize(("wins", "outcome", "verdict"), [(4, "undecided", "undecided"), (6, "passed", "better")])
def test_a_gate_and_a_comparison_decide_alike(project, wins, outcome, verdict):
    rows = [{"question": f"q{number}", "ground_truth": "Paris", "values": ["Paris"]} for number in range(300)]
    _make(project, "base", ["Paris"] * 150 + ["Rome"] * 150, rows)
    _make(project, "tuned", ["Paris"] * (150 + wins) + ["Rome"] * (150 - wins), rows)
    _score(project, "base", "tuned")
    compared = json.loads(phi3flow("compare", "base", "tuned", "--json", cwd=project).stdout)["metrics"]
    metric = compared["answer_match.value_accuracy"]
    [result] = _results(_gate(project, "value_accuracy better than baseline", arguments=JSON))
    assert (result["outcome"], metric["verdict"]) == (outcome, verdict)
    if wins == 4:
        assert metric["p"] == pytest.approx(0.0625)
        assert "p = 0.0625" in result["sentence"]
        assert result["lines_needed"] > 300


# no interval of width zero


@pytest.mark.parametrize("margin", [0.01, 0.05, 0.2])
def test_five_tied_lines_do_not_rule_out_a_loss(project, margin):
    for name in ("base", "tuned"):
        _make(project, name, ["Paris", "Paris", "Rome", "Paris", "a city called Paris"])
    _score(project, "base", "tuned")
    rules = [f"{metric} no worse than baseline by {margin}" for metric in ("value_accuracy", "f1", "corpus_chrf")]
    results = _results(_gate(project, *rules, arguments=JSON))
    assert [result["outcome"] for result in results] == ["undecided"] * 3


def test_two_lines_from_three_to_four_stars_show_nothing(project):
    flow = _flow(project / "stars", "    return float(answer)\n", tags="score_ranges: points 1..5")
    _make(project, "base", ["3", "3"])
    _make(project, "tuned", ["4", "4"])
    _score(project, "base", "tuned", flow=flow)
    rules = ["points better than baseline by 0.9", "points >= 3.9", "points better than baseline"]
    results = _results(_gate(project, *rules, arguments=JSON))
    assert [result["outcome"] for result in results] == ["undecided"] * 3
    assert all(result["low"] < result["value"] < result["high"] for result in results)


# rulers


def test_runs_of_unlike_rulers_are_refused_with_the_command_that_scores_anew(project):
    flow = _flow(project / "flows/strict", "    return float(answer == ground_truth)\n")
    _make(project, "base", ["Paris", "Rome"] * 60)
    _make(project, "tuned", ["Paris", "Rome"] * 60)
    _score(project, "base", flow=flow)
    _flow(flow, "    return 0.3 + 0.7 * float(answer == ground_truth)\n")
    _score(project, "tuned", flow=flow)
    rule = "points better than baseline"
    done = _gate(project, rule, arguments=["--baseline", "base", "--output", "gate.json"])
    assert (done.returncode, done.stdout) == (2, "")
    assert "strict measured base and tuned differently" in done.stderr
    assert "phi3flow score base --flow flows/strict" in done.stderr
    assert not (project / "gate.json").exists()
    assert not (project / ".runs/tuned/gate.json").exists()
    _score(project, "base", flow=flow)
    assert _gate(project, rule).returncode == 1


def test_an_unlike_ruler_that_no_rule_is_about_stands_in_no_way(project):
    flow = _flow(project / "flows/strict", "    return float(answer == ground_truth)\n")
    _make(project, "base", ["Paris", "Rome"] * 60)
    _make(project, "tuned", ["Paris"] * 120)
    _score(project, "base", flow=flow)
    _flow(flow, "    return 0.3 + 0.7 * float(answer == ground_truth)\n")
    _score(project, "tuned", flow=flow)
    _score(project, "base", "tuned")
    assert _gate(project, "f1 better than baseline").returncode == 0
    assert _gate(project, "f1 better than baseline", "strict.points better than baseline").returncode == 2


@pytest.mark.parametrize("rule", ["f1 >= 0.1", "failed <= 2%", "lines >= 1", "f1 no worse than baseline by 0.5"])
def test_scores_of_an_earlier_build_are_refused_with_the_command_that_scores_anew(project, rule):
    _make(project, "base", ["Paris"] * 20)
    _make(project, "tuned", ["Paris"] * 20)
    _score(project, "base", "tuned")
    _age(RunFolder(project / ".runs/tuned"))
    arguments = ["--baseline", "base"] if "baseline" in rule else []
    done = _gate(project, rule, arguments=arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "an earlier build's" in done.stderr
    assert f"phi3flow score tuned --flow {Path('flows/eval/answer_match')}" in done.stderr
    assert not (project / ".runs/tuned/gate.json").exists()


def test_an_earlier_builds_scores_that_no_rule_is_about_stand_in_no_way(project):
    flow = _flow(project / "flows/strict", "    return float(answer == ground_truth)\n")
    _make(project, "tuned", ["Paris"] * 20)
    _score(project, "tuned")
    _score(project, "tuned", flow=flow)
    _age(RunFolder(project / ".runs/tuned"))
    assert _gate(project, "points >= 0.1", "failed <= 2%", arguments=[]).returncode == 0
    assert _gate(project, "failed <= 2%", arguments=[]).returncode == 2


def test_a_baseline_that_an_earlier_build_scored_is_refused(project):
    _make(project, "base", ["Paris"] * 20)
    _make(project, "tuned", ["Paris"] * 20)
    _score(project, "base", "tuned")
    _age(RunFolder(project / ".runs/base"))
    done = _gate(project, "f1 no worse than baseline by 0.5")
    assert done.returncode == 2
    assert "phi3flow score base --flow" in done.stderr
    assert _gate(project, "f1 >= 0.1", arguments=[]).returncode == 0


def _age(run: RunFolder) -> None:
    """Make the scores of a run what version 1 wrote."""
    path = run.path / "scores/answer_match/metrics.json"
    metrics = json.loads(path.read_bytes())
    for name in ("evaluation", "answered_only", "texts", "aggregation_error"):
        metrics.pop(name, None)
    path.write_text(json.dumps({**metrics, "schema_version": 1, "failed_lines": "left out"}))
