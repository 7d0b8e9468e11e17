"""phi3flow score, given again: what was paid is kept, what failed is tried again, what changed is scored anew."""

from __future__ import annotations

import json
import resource
import signal
from pathlib import Path

import pytest

from phi3flow.runs.folder import RunFolder, lock_scores
from phi3flow.storage.jsonl import write_rows
from tests.support.command_line import Done, phi3flow
from tests.support.folders.batch_project import KEY
from tests.support.folders.scoring_project import TOTAL, ScoringProject
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

LINES = 6


@pytest.fixture
def project(tmp_path: Path) -> ScoringProject:
    return ScoringProject(tmp_path / "project", lines=LINES)


@pytest.fixture
def score(project: ScoringProject, monkeypatch: pytest.MonkeyPatch):
    def run(endpoint: FaultEndpoint, *flags: object) -> Done:
        monkeypatch.setenv("ENDPOINT", endpoint.url)
        monkeypatch.setenv("KEY", KEY)
        return phi3flow("score", "run", "--flow", "judge", *flags, cwd=project.folder)

    return run


def _answer(project: ScoringProject, line: int, answer: str) -> None:
    """Have the run answer a line otherwise, as a batch run that is resumed does."""
    file = project.run.path / "results.jsonl"
    results = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
    results[line]["outputs"] = {"answer": answer}
    write_rows(file, results)


def test_a_scoring_that_ended_is_not_paid_twice(project, score):
    with FaultEndpoint(key=KEY) as endpoint:
        assert score(endpoint).returncode == 0
        before = project.scored
        again = score(endpoint)
        assert again.returncode == 0
        assert f"judge: {LINES} of {LINES} lines were scored before and are kept" in again.stderr
        assert len(endpoint.requests) == LINES
    assert project.scored == before


def test_fresh_asks_the_judge_anew(project, score):
    with FaultEndpoint(key=KEY) as endpoint:
        assert score(endpoint).returncode == 0
        done = score(endpoint, "--fresh")
        assert (done.returncode, len(endpoint.requests)) == (0, 2 * LINES)
        assert "scored before" not in done.stderr


def test_what_failed_is_tried_again(project, score):
    replies = {"a2": [Reply(400), None]}

    def answer(request: Request) -> Reply | None:
        return replies.get(request.question, [None]).pop(0) if replies.get(request.question) else None

    with FaultEndpoint(answer, key=KEY) as endpoint:
        assert score(endpoint).returncode == 1
        assert [line["status"] for line in project.scored[0]].count("Failed") == 1
        assert score(endpoint).returncode == 0
        assert len(endpoint.requests) == LINES + 1
    assert all(line["status"] == "Completed" for line in project.scored[0])


def test_only_lines_with_another_answer_are_scored_anew(project, score):
    with FaultEndpoint(key=KEY) as endpoint:
        score(endpoint)
        _answer(project, 3, "another")
        assert score(endpoint).returncode == 0
        assert [request.question for request in endpoint.requests[LINES:]] == ["another"]
    lines, _ = project.scored
    assert [line["scores"]["stars"] for line in lines] == [8.0, 8.0, 8.0, 13.0, 8.0, 8.0]


@pytest.mark.parametrize(
    ("flags", "edit", "changed"),
    [
        pytest.param(["--judge-repeats", "2"], None, "--judge-repeats", id="repeats"),
        pytest.param([], ("judge.py", "len(said)", "1 + len(said)"), "the evaluation flow", id="code"),
        pytest.param([], ("flow.dag.yaml", "stars 0..100", "stars 0..200"), "the evaluation flow", id="range"),
    ],
)
def test_another_ruler_starts_over_and_says_so_and_loses_nothing(project, score, flags, edit, changed):
    with FaultEndpoint(key=KEY) as endpoint:
        score(endpoint)
        file, before, after = (project.flow / edit[0], *edit[1:]) if edit else (project.flow / "judge.py", "", "")
        original = file.read_text(encoding="utf-8")
        file.write_text(original.replace(before, after), encoding="utf-8")
        done = score(endpoint, *flags)
        assert done.returncode == 0
        assert f"judge: scored before with another setting ({changed}): starts over" in done.stderr
        asked = len(endpoint.requests)
        assert asked in (2 * LINES, 3 * LINES)
        file.write_text(original, encoding="utf-8")
        assert score(endpoint).returncode == 0
        assert len(endpoint.requests) == asked


def test_a_connection_that_stands_for_another_endpoint_is_another_judge(project, score):
    with FaultEndpoint(key=KEY) as first, FaultEndpoint(key=KEY) as second:
        score(first)
        assert "(a connection): starts over" in score(second).stderr
        assert len(second.requests) == LINES


def test_an_aggregation_that_fails_costs_no_score_and_is_mended_without_a_request(project, score):
    (project.flow / "total.py").write_text(TOTAL.replace("log_metric(", "raise KeyError('no stars'); log_metric(", 1))
    with FaultEndpoint(key=KEY) as endpoint:
        done = score(endpoint)
        assert done.returncode == 1
        assert "judge: its aggregation failed: KeyError: 'no stars'; the lines' scores are kept" in done.stderr
        lines, metrics = project.scored
        assert [line["scores"] for line in lines] == [{"stars": 8.0}] * LINES
        assert metrics["metrics"]["stars"]["mean"] == 8.0
        assert metrics["aggregation_error"] == {"type": "KeyError", "message": "'no stars'", "status_code": None}
        assert json.loads(score(endpoint, "--json").stdout)["aggregation_errors"]["judge"]["type"] == "KeyError"
        (project.flow / "total.py").write_text(TOTAL, encoding="utf-8")
        assert score(endpoint).returncode == 0
        assert len(endpoint.requests) == LINES
    _, metrics = project.scored
    assert (metrics["aggregation_error"], metrics["metrics"]["total"]["mean"]) == (None, 8.0 * LINES)


def test_the_texts_of_a_judge_are_kept_and_what_is_logged_as_text_is_shown(project, score):
    with FaultEndpoint(lambda _: Reply(answer=f"good {KEY} " + "x" * 5000), key=KEY) as endpoint:
        (project.flow / "flow.dag.yaml").write_text(
            (project.flow / "flow.dag.yaml").read_text().replace("0..100", "0..9999")
        )
        shown = score(endpoint)
        assert shown.returncode == 0
        assert "judge.label: excellent" in shown.stdout
        assert json.loads(score(endpoint, "--json").stdout)["texts"] == {"judge.label": "excellent"}
    lines, metrics = project.scored
    assert lines[0]["texts"]["reason"].startswith("it said good *** xxx")
    assert len(lines[0]["texts"]["reason"]) <= 4001
    assert metrics["texts"] == {"label": "excellent"}
    assert json.loads((project.run.path / "metrics.json").read_text())["judge.label"] == "excellent"
    written = [path for path in project.run.path.rglob("*") if path.is_file()]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]


def test_the_reasons_of_repeated_judgements_are_all_kept(project, score):
    answers = iter(f"verdict {number}" for number in range(100))
    with FaultEndpoint(lambda _: Reply(answer=next(answers)), key=KEY) as endpoint:
        score(endpoint, "--judge-repeats", 2, "--concurrency", 1)
    lines, _ = project.scored
    assert lines[0]["texts"]["reason"] == "1. it said verdict 0\n2. it said verdict 1"


def test_two_scorings_of_one_run_are_refused(project, score):
    with FaultEndpoint(key=KEY) as endpoint, lock_scores(project.run.path):
        done = score(endpoint)
        assert done.returncode == 2
        assert "run run is being scored by another process" in done.stderr
        assert endpoint.requests == []


def test_a_quota_that_tears_a_line_loses_nothing(project):
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    with FaultEndpoint(key=KEY) as endpoint:
        uncovered = {"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": "", "PYTHONDONTWRITEBYTECODE": "1"}
        ended = project.finish(endpoint, "--concurrency", 1, preexec_fn=small_files, environment=uncovered)
        assert ended.returncode == 2
        assert "cannot be written: File too large; what was done so far is kept" in ended.stderr
        kept = project.executions.read_bytes()
        assert kept.endswith(b"\n")
        assert project.run.evaluations() == []
        asked = len(endpoint.requests)
        assert project.finish(endpoint).returncode == 0
        assert len(endpoint.requests) - asked == LINES - (kept.count(b"\n") - 1)


def test_a_file_of_executions_that_is_damaged_in_the_middle_is_named(project, score):
    with FaultEndpoint(key=KEY) as endpoint:
        score(endpoint)
        lines = project.executions.read_bytes().splitlines(keepends=True)
        project.executions.write_bytes(b"".join([*lines[:2], b'{"line_number": "x"}\n', *lines[2:]]))
        done = score(endpoint)
        assert done.returncode == 2
        assert f"{project.executions}:3: is damaged" in done.stderr
        assert score(endpoint, "--fresh").returncode == 0


def test_a_run_is_not_deleted_while_it_is_scored(project):
    from phi3flow.errors import ConfigError

    with lock_scores(project.run.path), pytest.raises(ConfigError, match="is being scored"):
        RunFolder(project.run.path).delete()
    RunFolder(project.run.path).delete()
    assert not project.run.path.exists()
