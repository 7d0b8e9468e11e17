"""batch-run --repeats: every line several times, averaged within a line before anything is inferred."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean, variance

import pytest

from phi3flow.cli.main import main
from tests.support.flows.foreign_flows import write_lines
from tests.support.folders.batch_project import KEY, BatchProject
from tests.support.paths import FLOWS
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

FLOW = str(FLOWS / "eval" / "answer_match")
LINES, REPEATS = 6, 4


class _Moody:
    """Answers right the first n times that question n comes, wrong from then on."""

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}

    def __call__(self, request: Request) -> Reply:
        number = int(request.question[1:])
        self.asked[number] = self.asked.get(number, 0) + 1
        return Reply(answer="right" if self.asked[number] <= number else "wrong")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BatchProject:
    made = BatchProject(tmp_path, lines=LINES)
    rows = [{"question": f"q{n}", "ground_truth": "right", "kind": "odd" if n % 2 else "even"} for n in range(LINES)]
    write_lines(made.data, rows)
    monkeypatch.chdir(tmp_path)
    return made


def _run(project: BatchProject, *flags: object) -> dict[str, int]:
    with FaultEndpoint(_Moody(), key=KEY, port=project.port) as endpoint:
        project.port = endpoint.port
        ended = project.finish(endpoint, "--concurrency", "1", *flags)
    assert ended.returncode == 0, ended.stderr
    return ended.counts


def test_each_line_runs_k_times_under_names_of_its_own(project: BatchProject) -> None:
    assert _run(project, "--repeats", REPEATS)["completed"] == LINES * REPEATS
    results = project.run.results()
    assert [result.line_number for result in results] == list(range(LINES * REPEATS))
    assert len({result.line_id for result in results}) == LINES * REPEATS
    assert results[LINES].line_id == f"{results[0].line_id}~2"
    assert [row["question"] for row in project.run.data_rows()] == [f"q{n}" for n in range(LINES)] * REPEATS


@pytest.mark.slow
def test_more_repeats_add_to_those_that_are_there(project: BatchProject) -> None:
    assert _run(project)["completed"] == LINES
    assert _run(project, "--repeats", 2)["completed"] == 2 * LINES
    with FaultEndpoint(_Moody(), key=KEY, port=project.port) as endpoint:
        project.finish(endpoint, "--repeats", 3)
        assert len(endpoint.requests) == LINES, "only the third time was missing"


@pytest.mark.slow
def test_other_lines_cannot_be_repeated_in_the_same_run(project: BatchProject) -> None:
    _run(project, "--repeats", 2)
    with FaultEndpoint(_Moody(), key=KEY, port=project.port) as endpoint:
        ended = project.finish(endpoint, "--repeats", 2, "--limit", 3)
    assert ended.returncode == 2
    assert "it had 6 lines to repeat, now 3" in ended.stderr


def test_an_estimate_is_over_lines_and_tells_both_variances(project: BatchProject) -> None:
    _run(project, "--repeats", REPEATS)
    assert main(["score", "run", "--flow", FLOW, "--quiet"]) == 0
    metric = project.run.metrics("answer_match").metrics["exact_match"]
    means = [min(number, REPEATS) / REPEATS for number in range(LINES)]
    assert (metric.mean, metric.n) == (pytest.approx(fmean(means)), LINES)
    assert metric.repeats is not None
    within = [variance([1.0] * round(m * REPEATS) + [0.0] * (REPEATS - round(m * REPEATS))) for m in means]
    assert metric.repeats.model_dump() == {
        "count": REPEATS,
        "between": pytest.approx(variance(means)),
        "within": pytest.approx(fmean(within)),
    }


@pytest.mark.slow
def test_runs_are_compared_by_the_lines_means(project: BatchProject, capsys: pytest.CaptureFixture[str]) -> None:
    _run(project, "--repeats", REPEATS)
    _run(project, "--name", "once")
    for name in ("run", "once"):
        assert main(["score", name, "--flow", FLOW, "--quiet"]) == 0
    capsys.readouterr()
    assert main(["compare", "once", "run", "--by", "kind", "--metric", "exact_match", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    metric = printed["metrics"]["answer_match.exact_match"]
    before = fmean([0.0] + [1.0] * (LINES - 1))
    after = fmean([min(number, REPEATS) / REPEATS for number in range(LINES)])
    assert (printed["n_paired"], printed["unmatched"]) == (LINES, {"baseline": 0, "candidate": 0})
    assert metric["difference"]["mean"] == pytest.approx(after - before)
    assert [one["n"] for one in printed["slices"]] == [3, 3]
