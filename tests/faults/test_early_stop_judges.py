"""Early stopping scores as ``score`` does: who refuses is asked again, a line that kills the judge has no score."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from phi3flow.errors import ConfigError, EndpointError
from phi3flow.flows import Flow, load_flow
from phi3flow.pacing.limits import Limits
from phi3flow.records.comparisons import StoppedEarly
from phi3flow.runner import RunOptions, RunPlan, StopRule, run_flow
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import ASYNC_CLIENT, connection, write_flow, write_lines
from tests.support.folders.run_folders import line, measured_by, write_run
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request, Scripted

LINES = 120
KEY = "key-of-the-judge-0123456789"
SLOW_ECHO = """
import asyncio
from promptflow.core import tool

@tool
async def ask(question: str) -> str:
    await asyncio.sleep(0.1)
    return question.upper()
"""
JUDGE = (
    ASYNC_CLIENT.replace("def ask(question: str", "def ask(answer: str")
    .replace('"content": question', '"content": answer')
    .replace('return (await response.json())["output"]', 'return float((await response.json())["output"])')
)
LOCAL_JUDGE = """
import os
from promptflow.core import tool

@tool
def ask(answer: str) -> float:
    if answer == "Q0":
        os._exit(9)
    return 2.0 if answer == "Q1" else 1.0
"""


def _evaluation(folder: Path, code: str, *, connection: str | None = None) -> Flow:
    write_flow(folder, code, connection=connection)
    dag = yaml.safe_load((folder / "flow.dag.yaml").read_text(encoding="utf-8"))
    dag["inputs"] = {"answer": {"type": "string"}}
    dag["nodes"][0]["inputs"] = {"answer": "${inputs.answer}"} | ({"connection": connection} if connection else {})
    dag["outputs"] = {"right": {"type": "double", "reference": "${ask.output}"}}
    dag["tags"] = {"score_ranges": "right 0..1"}
    (folder / "flow.dag.yaml").write_text(yaml.safe_dump(dag, sort_keys=False), encoding="utf-8")
    return load_flow(folder)


def _run(tmp_path: Path, evaluation: Flow, judge: FaultEndpoint | None = None) -> RunFolder:
    return _go_on(_plan(tmp_path, evaluation, ["judge"] if judge else []), judge)


def _go_on(plan: RunPlan, judge: FaultEndpoint | None) -> RunFolder:
    return run_flow(plan, connections=lambda _: connection(judge.url if judge else "http://127.0.0.1:1", KEY))


def _plan(tmp_path: Path, evaluation: Flow, judged_over: list[str]) -> RunPlan:
    rows = [{"question": f"q{number}"} for number in range(LINES)]
    data = write_lines(tmp_path / "lines.jsonl", rows)
    results = [line(number, "wrong", line_id=f"line-{number}") for number in range(LINES)]
    data.write_text("".join(json.dumps({**row, "line_id": f"line-{n}"}) + "\n" for n, row in enumerate(rows)))
    baseline = write_run(
        tmp_path / "runs" / "base", results, rows=rows, scores={evaluation.name: {"right": [0.0] * LINES}}
    )
    measured_by(baseline, evaluation, {"answer": "${run.outputs.answer}"}, connections=judged_over)
    return RunPlan(
        load_flow(write_flow(tmp_path / "flow", SLOW_ECHO)),
        data,
        tmp_path / "runs",
        name="run",
        options=RunOptions(limits=Limits(concurrency=4)),
        stop_rule=StopRule.of(baseline, f"{evaluation.name}.right"),
    )


def _outcome(run: RunFolder) -> StoppedEarly:
    early = run.manifest.stopped_early
    assert early is not None
    return early


def _refusing(times: int) -> Callable[[Request], Scripted]:
    asked: Counter[str] = Counter()

    def answer(request: Request) -> Scripted:
        asked[request.question] += 1
        refuse = asked[request.question] <= times and request.question.endswith("3")
        return 503 if refuse else Reply(answer="1")

    return answer


def test_a_judge_that_refuses_at_first_is_asked_again_and_decides_as_one_that_does_not(tmp_path: Path) -> None:
    outcomes = []
    for name, refusals in (("calm", 0), ("busy", 1)):
        (tmp_path / name).mkdir()
        with FaultEndpoint(_refusing(refusals), key=KEY) as judge:
            evaluation = _evaluation(tmp_path / name / "judge", JUDGE, connection="judge")
            outcomes.append(_outcome(_run(tmp_path / name, evaluation, judge)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].verdict == "better"


def test_a_judge_that_stays_down_ends_the_run_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phi3flow.runner.early_stop._LIMITS", Limits(outage_s=0.3))
    evaluation = _evaluation(tmp_path / "judge", JUDGE, connection="judge")
    with FaultEndpoint(key=KEY) as judge, judge.down(), pytest.raises(EndpointError, match="has not answered"):
        _run(tmp_path, evaluation, judge)
    assert RunFolder(tmp_path / "runs" / "run").manifest.status == "Failed"


def test_a_line_that_kills_the_evaluation_or_scores_out_of_range_has_no_score(tmp_path: Path) -> None:
    run = _run(tmp_path, _evaluation(tmp_path / "judge", LOCAL_JUDGE))
    early = _outcome(run)
    assert early.verdict == "better"
    assert early.difference.mean == 1.0
    assert run.manifest.status == "Completed"


@pytest.mark.slow
def test_a_judge_is_asked_once_for_each_answer_whatever_the_openings(tmp_path: Path) -> None:
    evaluation = _evaluation(tmp_path / "judge", JUDGE, connection="judge")
    plan = _plan(tmp_path, evaluation, ["judge"])
    with FaultEndpoint(lambda _: Reply(answer="0"), key=KEY) as judge:
        openings = [_outcome(_go_on(replace(plan, limit=limit), judge)) for limit in (40, 80, None, None)]
        assert len(judge.requests) == LINES
    assert [(early.verdict, early.n) for early in openings] == [("undecided", n) for n in (40, 80, LINES, LINES)]


def test_a_baseline_that_another_judge_scored_is_refused(tmp_path: Path) -> None:
    evaluation = _evaluation(tmp_path / "judge", JUDGE, connection="judge")
    plan = _plan(tmp_path, evaluation, ["judge_local"])
    with FaultEndpoint(key=KEY) as judge:
        with pytest.raises(ConfigError, match="scored over the connection judge_local, and .* asks judge"):
            _go_on(plan, judge)
        assert not judge.requests
