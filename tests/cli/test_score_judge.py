"""phi3flow score with a judge: who judged is kept, refusals are tried again, limits hold, repeats are averaged."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import EndpointError
from phi3flow.flows import load_flow
from phi3flow.pacing.limits import Limits
from phi3flow.scoring import score_run
from tests.cli.test_score import _foreign_flow
from tests.support.servers.fault_endpoint import Reply, Request, Scripted, TokenBucket
from tests.support.servers.scripted_judge import FLOW, KEY, JudgedRun, Verdicts, judge

ROWS = [{"question": f"Question {number}?"} for number in range(4)]
ANSWERS = [f"Answer {number}." for number in range(4)]


def _always(verdict: Scripted) -> Verdicts:
    return lambda *_: verdict


def test_who_judged_and_by_which_prompts_is_kept_and_no_key_is(tmp_path: Path) -> None:
    with judge(_always("4")) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        done = judged.score("--json")
        host = endpoint.base_url.removeprefix("http://")
    assert done.returncode == 0
    judging = judged.metrics.judging
    assert judging is not None
    assert [(use.name, use.host) for use in judging.connections] == [("judge_local", host)]
    assert (judging.model, judging.answered_as, judging.repeats) == ("phi3", ["phi3"], 1)
    assert judging.package == "promptflow-evals 0.3.5"
    package = next(path for path in map(Path, sys.path) if (path / "promptflow" / "evals").is_dir())
    for metric in ("coherence", "fluency"):
        file = package / "promptflow" / "evals" / "evaluators" / f"_{metric}" / f"{metric}.prompty"
        assert judging.prompts[metric] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert set(judging.prompts) == {"coherence", "fluency"}
    assert json.loads(done.stdout)["judging"]["answer_quality"]["model"] == "phi3"
    written = [path for path in (tmp_path / ".runs").rglob("*") if path.is_file()]
    assert not [path for path in written if KEY.encode() in path.read_bytes()]
    assert KEY not in done.stdout + done.stderr


def test_a_key_that_the_judge_echoes_is_cut_out(tmp_path: Path) -> None:
    echo = Reply(401, body={"error": {"message": f"Incorrect API key provided: {KEY}"}})
    with judge(_always(echo)) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        done = judged.score()
    assert done.returncode == 1
    error = judged.lines[0].error
    assert error is not None
    assert (error.status_code, "***" in error.message) == (401, True)
    assert KEY not in done.stderr + judged.lines[0].model_dump_json()


def test_a_failed_verdict_counts_for_its_metric_alone(tmp_path: Path) -> None:
    def verdict(metric: str, part: str, request: Request) -> Scripted:
        return "I'd rather not." if metric == "fluency" and "Answer 2" in part else "4"

    with judge(verdict) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        done = judged.score()
    assert done.returncode == 1
    metrics = judged.metrics.metrics
    assert (metrics["fluency"].mean, metrics["fluency"].n, metrics["fluency"].n_failed) == (4.0, 3, 1)
    assert (metrics["coherence"].n, metrics["coherence"].n_failed) == (4, 0)
    assert (metrics["relevance"].n, metrics["relevance"].n_failed) == (0, 0)
    assert metrics["failed_verdicts"].mean == 1.0
    assert (judged.lines[2].status, judged.lines[2].scores["fluency"]) == ("Completed", None)
    assert "1 of 4 lines lack a score; the first: line 2: fluency: VerdictError: the judge answered" in done.stderr


@pytest.mark.parametrize("trouble", [Reply(429), Reply(503), Reply(500), Reply(fault="reset"), Reply(fault="cut")])
def test_what_may_be_answered_later_is_tried_again_and_no_verdict_is_asked_twice(
    tmp_path: Path, trouble: Reply
) -> None:
    asked: Counter[tuple[str, str]] = Counter()

    def verdict(metric: str, part: str, request: Request) -> Scripted:
        asked[metric, part] += 1
        return trouble if metric == "coherence" and asked[metric, part] == 1 else "3"

    with judge(verdict) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        assert judged.score().returncode == 0
    assert all(line.scores["coherence"] == 3.0 for line in judged.lines)
    assert {count for (metric, _), count in asked.items() if metric == "coherence"} == {2}
    assert {count for (metric, _), count in asked.items() if metric == "fluency"} == {1}


def test_a_line_that_is_refused_to_the_end_fails_with_the_status(tmp_path: Path) -> None:
    def verdict(metric: str, part: str, request: Request) -> Scripted:
        return Reply(429, headers={"Retry-After": "0.01"}) if "Answer 1" in part else "3"

    with judge(verdict) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        assert judged.score().returncode == 1
    error = judged.lines[1].error
    assert error is not None
    assert error.status_code == 429
    assert [line.status for line in judged.lines] == ["Completed", "Failed", "Completed", "Completed"]
    assert judged.metrics.metrics["fluency"].n_failed == 1


def test_a_judge_that_stays_down_ends_the_scoring_and_leaves_what_was_there(tmp_path: Path) -> None:
    rows = [{"question": f"{number}?"} for number in range(40)]
    with judge(_always("2")) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, rows, ["Yes."] * 40)
        assert judged.score().returncode == 0
        before = judged.metrics
        flow = load_flow(FLOW).with_connections({"judge_line.connection": "any", "judge_line.model": "phi3"})
        value = {"base_url": f"{endpoint.base_url}/v1", "api_key": KEY}
        connection = {"type": "OpenAIConnection", "module": "promptflow.connections", "value": value}
        with endpoint.down(), pytest.raises(EndpointError, match="has not answered"):
            score_run(judged.run, flow=flow, connections=lambda _: connection, limits=Limits(outage_s=0.5))
    assert judged.metrics == before


def test_concurrency_bounds_the_lines_in_flight(tmp_path: Path) -> None:
    with judge(_always(Reply(answer="4", delay_s=0.02))) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS * 3, ANSWERS * 3)
        assert judged.score("--concurrency", 2).returncode == 0
        assert endpoint.peak_in_flight <= 4  # two metrics a line, without context and ground truth


def test_rpm_counts_requests_and_is_refused_where_it_is_less_than_a_line_needs(tmp_path: Path) -> None:
    with judge(_always("4")) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        done = judged.score("--rpm", 4)
        assert done.returncode == 2
        assert "--rpm 4: one call makes up to 5 requests" in done.stderr
        assert endpoint.requests == []


def test_rpm_spaces_lines_by_the_requests_that_each_may_make(tmp_path: Path) -> None:
    with judge(_always("4")) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        assert judged.score("--rpm", 1200).returncode == 0
        first = sorted(min(one.time for one in endpoint.requests if answer in one.question) for answer in ANSWERS)
    assert first[3] - first[1] > 0.2  # 5 of 1200 a minute each: 0.5 s; by lines it would be 0.1 s


@pytest.mark.slow
def test_a_judge_with_a_rate_limit_judges_every_line(tmp_path: Path) -> None:
    bucket = TokenBucket(rate=60, burst=5, accepted="4")
    with judge(lambda metric, part, request: bucket(request) or "4") as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS * 10, ANSWERS * 10)
        assert judged.score().returncode == 0
        assert len(endpoint.requests) == 80 + bucket.refused


def test_repeats_are_averaged_and_their_agreement_is_kept_and_shown(tmp_path: Path) -> None:
    asked: Counter[tuple[str, str]] = Counter()

    def verdict(metric: str, part: str, request: Request) -> Scripted:
        asked[metric, part] += 1
        turn = asked[metric, part] - 1
        if metric == "coherence":
            return str(1 + int(part.rpartition("Answer ")[2][0]))  # the line's own, each time
        return ["2", "3", "no"][turn] if "Answer 0" in part else "5"

    with judge(verdict) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        done = judged.score("--judge-repeats", 3)
        assert len(endpoint.requests) == 3 * 2 * 4
    assert done.returncode == 0
    first = judged.lines[0]
    assert first.scores["fluency"] == 2.5
    assert sorted(first.verdicts["fluency"], key=lambda one: (one is None, one)) == [2.0, 3.0, None]
    assert judged.metrics.metrics["fluency"].mean == pytest.approx((2.5 + 5 + 5 + 5) / 4)
    judging = judged.metrics.judging
    assert judging is not None
    assert judging.repeats == 3
    coherence, fluency = judging.agreement["coherence"], judging.agreement["fluency"]
    assert (coherence.alpha, coherence.exact, coherence.within_sd, coherence.n) == (1.0, 1.0, 0.0, 4)
    assert (fluency.exact, fluency.n) == (0.75, 4)
    assert fluency.within_sd == pytest.approx((0.5 / 7) ** 0.5)
    assert "coherence: Krippendorff's alpha 1.000; all 3 verdicts equal on 100.0% of 4 lines" in done.stdout
    assert "judged by phi3 at judge_local" in done.stdout


def test_one_judgement_reports_no_agreement(tmp_path: Path) -> None:
    with judge(_always("4")) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        assert "Krippendorff" not in judged.score().stdout
    assert judged.lines[0].verdicts == {}


@pytest.mark.parametrize("wrong", ["judge.connection=judge_local", "judge_line.temperature=1"])
def test_a_connection_for_no_node_is_refused(tmp_path: Path, wrong: str) -> None:
    with judge(_always("4")) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        done = judged.score("--connections", wrong)
    assert done.returncode == 2
    assert wrong in done.stderr


def test_a_flow_beside_the_judge_keeps_its_own_connections(tmp_path: Path) -> None:
    flow = _foreign_flow(tmp_path / "grades", "def grade(answer: str) -> dict:\n    return {'one': 1}\n", ["one"])
    with judge(_always("4")) as endpoint:
        judged = JudgedRun(tmp_path, endpoint, ROWS, ANSWERS)
        done = judged.score("--flow", flow, "--json")
    assert done.returncode == 0
    metrics: dict[str, Any] = json.loads(done.stdout)["metrics"]
    assert {"answer_quality.fluency", "grades.one"} < set(metrics)
    assert judged.run.metrics("grades").judging is None
