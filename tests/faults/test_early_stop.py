"""A run with --stop-when-decided ends as soon as it is certain, whatever happens to it on the way."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from phi3flow.cli.main import main
from tests.support.flows.foreign_flows import write_lines
from tests.support.folders.batch_project import KEY, BatchProject, Ended, wait_until
from tests.support.paths import FLOWS
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

LINES = 300
STOP = ("--baseline", "base", "--stop-when-decided", "answer_match.exact_match")


def _right_in(percent: int) -> Callable[[Request], Reply]:
    """An endpoint that answers so many of a hundred questions right, and some slowly."""

    def answer(request: Request) -> Reply:
        number = int(request.question[1:])
        right = random.Random(number).random() * 100 < percent
        return Reply(answer=f"a{number}" if right else "I do not know.", delay_s=0.05 if number % 3 else 0.2)

    return answer


@pytest.fixture(scope="module")
def base_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a scored run that is right on a third of its 300 lines, two to a conversation."""
    folder = tmp_path_factory.mktemp("base")
    made = _project(folder)
    assert _run(made, 33, "--name", "base").returncode == 0
    evaluation = ["--flow", str(FLOWS / "eval" / "answer_match")]
    assert main(["score", "base", "--runs-dir", str(made.runs_dir), "--quiet", *evaluation]) == 0
    return made.runs_dir / "base"


@pytest.fixture
def project(base_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BatchProject:
    """A project that has this run, named base."""
    made = _project(tmp_path)
    shutil.copytree(base_run, made.runs_dir / "base")
    shutil.copytree(FLOWS / "eval" / "answer_match", tmp_path / "flows" / "eval" / "answer_match")
    monkeypatch.chdir(tmp_path)
    return made


def _project(folder: Path) -> BatchProject:
    made = BatchProject(folder, lines=LINES)
    rows = ({"question": f"q{n}", "ground_truth": f"a{n}", "conversation_id": n // 2} for n in range(LINES))
    write_lines(made.data, rows)
    return made


def _run(project: BatchProject, percent: int, *flags: str) -> Ended:
    with FaultEndpoint(_right_in(percent), key=KEY, port=project.port) as endpoint:
        project.port = endpoint.port
        return project.finish(endpoint, "--concurrency", "16", *flags)


def test_a_much_better_run_is_stopped_early_and_says_so(
    project: BatchProject, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = _run(project, 90, *STOP)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["status"] == "Completed"
    assert found["counts"]["completed"] < LINES / 2
    early = found["stopped_early"]
    assert (early["metric"], early["baseline"], early["verdict"]) == ("answer_match.exact_match", "base", "better")
    assert 0 < early["difference"]["low"] < early["difference"]["mean"] < early["difference"]["high"] <= 1
    assert early["p"] <= 0.05
    numbers = [result.line_number for result in project.run.results()]
    assert max(numbers) > LINES * 0.9, "the order is random, not that of the file"

    again = _run(project, 0, *STOP)
    assert json.loads(again.stdout)["counts"] == found["counts"], "it is decided: nothing runs"

    assert main(["score", "run", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["compare", "base", "run", "--metric", "exact_match", "--json"]) == 0
    metric = json.loads(capsys.readouterr().out)["metrics"]["answer_match.exact_match"]
    assert (metric["difference"], metric["p"], metric["method"]) == (
        early["difference"],
        early["p"],
        "confidence sequence",
    )

    gate = ["gate", "run", "--baseline", "base", "--rule"]
    assert main([*gate, "exact_match better than baseline", "--json"]) == 0
    rule = json.loads(capsys.readouterr().out)["rules"][0]
    assert [rule[name] for name in ("value", "low", "high")] == [
        early["difference"][name] for name in ("mean", "low", "high")
    ], "the interval that allows for the early end"
    assert main([*gate, "exact_match better than baseline by 0.3", "--json"]) == 1
    undecided = json.loads(capsys.readouterr().out)["rules"][0]
    assert (undecided["outcome"], undecided["lines_needed"]) == ("undecided", None), "no plan of fixed lines holds"
    for refused in ("f1 better than baseline", "exact_match >= 0.5"):
        assert main([*gate, "exact_match better than baseline", "--rule", refused]) == 2
        assert f"--rule {refused!r}: run run ended when answer_match.exact_match was" in capsys.readouterr().err

    whole = _run(project, 90)
    assert json.loads(whole.stdout)["counts"]["completed"] == LINES, "without the rule, the same command finishes it"
    assert "stopped_early" not in json.loads(whole.stdout)


@pytest.mark.slow
def test_a_much_worse_run_is_stopped_too(project: BatchProject) -> None:
    found = json.loads(_run(project, 0, *STOP).stdout)
    assert found["stopped_early"]["verdict"] == "worse"
    assert found["counts"]["completed"] < LINES


@pytest.mark.slow
def test_a_run_that_answers_alike_runs_to_its_end_and_reports_the_same_test(project: BatchProject) -> None:
    found = json.loads(_run(project, 33, *STOP).stdout)
    assert found["counts"]["completed"] == LINES
    early = found["stopped_early"]
    assert (early["verdict"], early["n"], early["ties"], early["p"]) == ("undecided", LINES, LINES, 1.0)
    assert early["difference"]["low"] < 0 == early["difference"]["mean"] < early["difference"]["high"]


@pytest.mark.slow
def test_a_killed_run_goes_on_with_what_it_knew(project: BatchProject) -> None:
    with FaultEndpoint(_right_in(55), key=KEY) as endpoint:
        process = project.start(endpoint, "--concurrency", "4", *STOP)
        wait_until(lambda: len(endpoint.requests) >= 20)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = {result.line_number for result in project.run.results()}
        asked = len(endpoint.requests)
        ended = project.finish(endpoint, "--concurrency", "4", *STOP)
    found = json.loads(ended.stdout)
    assert before <= {result.line_number for result in project.run.results()}
    assert len(endpoint.requests) - asked <= found["counts"]["completed"] - len(before) + 4
    uninterrupted = json.loads(_run(project, 55, "--name", "other", *STOP).stdout)
    assert found["stopped_early"] == uninterrupted["stopped_early"], "the order was drawn beforehand"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--baseline", "base"), "--baseline RUN and --stop-when-decided METRIC come together"),
        (("--baseline", "base", "--stop-when-decided", "f3"), "metric 'f3' is unknown: there are answer_match.exact"),
        (("--baseline", "none", "--stop-when-decided", "f1"), "there is no run 'none'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_before_anything_is_sent(
    project: BatchProject, flags: tuple[str, ...], message: str
) -> None:
    ended = _run(project, 90, *flags)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert not project.results_file.exists()


def test_a_baseline_of_other_lines_is_refused(project: BatchProject) -> None:
    write_lines(project.data, [{"question": f"q{n}", "ground_truth": "x"} for n in range(5)])
    ended = _run(project, 90, *STOP)
    assert ended.returncode == 2
    assert "--baseline base: none of its 300 lines is in the data and has answer_match.exact_match" in ended.stderr
