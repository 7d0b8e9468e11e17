"""What a batch run does when the flow takes its process down."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.errors import FlowError
from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import ECHO, write_flow, write_lines
from tests.support.run_options import run_options

LINES = [{"question": f"q{number}"} for number in range(30)]


def _run(tmp_path: Path, code: str, **options: float) -> RunFolder:
    plan = RunPlan(
        load_flow(write_flow(tmp_path / "flow", code)),
        write_lines(tmp_path / "lines.jsonl", LINES),
        tmp_path / "runs",
        name="run",
        options=run_options(concurrency=8, **options),
    )
    return run_flow(plan, connections=dict)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_line_that_kills_the_process_fails_alone(tmp_path: Path, workers: int) -> None:
    code = ECHO.replace(
        "return", "import time\n    time.sleep(0.1)\n    if question == 'q13': import os; os.abort()\n    return"
    )
    run = _run(tmp_path, code, workers=workers)
    results = run.results()
    assert [result.line_number for result in results] == list(range(len(LINES)))
    assert [result.line_number for result in results if result.status == "Failed"] == [13]
    error = results[13].error
    assert error is not None
    assert error.type == "WorkerDied"
    assert error.message == "the flow's process ended (signal SIGABRT) while it executed this line"
    assert run.manifest.status == "Completed"


@pytest.mark.slow
def test_a_flow_that_always_kills_the_process_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(FlowError, match=r"died 5 times \(exit code 3\) and completed no line"):
        _run(tmp_path, ECHO.replace("return", "import os; os._exit(3)\n    return"))


@pytest.mark.slow
def test_a_line_that_blocks_the_event_loop_fails_and_the_others_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phi3flow.workers.crew_attempts._STUCK_AFTER_TIMEOUT_S", 1.0)
    blocking = "import time; time.sleep(600 if question == 'q4' else 0)\n    return"
    code = ECHO.replace("def ask", "async def ask").replace("return", blocking)
    results = _run(tmp_path, code, timeout_s=1.0).results()
    assert [result.line_number for result in results if result.status == "Failed"] == [4]
    assert len(results) == len(LINES)


def test_lines_that_yield_too_slowly_time_out_and_no_process_is_ended(tmp_path: Path) -> None:
    parts = "(time.sleep(0.05) or 'x' for _ in itertools.count())"
    slow = f"    import itertools, time\n    if question < 'q2': return {parts}\n    return"
    code = ECHO.replace("    return", slow)
    results = _run(tmp_path, code, timeout_s=1.0, max_retries=0).results()
    assert len(results) == len(LINES)
    failed = [result for result in results if result.status == "Failed"]
    assert [result.inputs["question"] for result in failed] == ["q0", "q1", *(f"q{n}" for n in range(10, 20))]
    assert {(result.error.type, result.error.message) for result in failed if result.error} == {
        ("TimeoutError", "no answer within 1 s")
    }


@pytest.mark.slow
def test_any_number_of_lines_that_block_the_event_loop_costs_no_other_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phi3flow.workers.crew_attempts._STUCK_AFTER_TIMEOUT_S", 0.5)
    blocking = "import time; time.sleep(600 if question < 'q16' else 0)\n    return"
    code = ECHO.replace("def ask", "async def ask").replace("return", blocking)
    results = _run(tmp_path, code, timeout_s=0.5, max_retries=0, workers=2).results()
    failed = [result for result in results if result.status == "Failed"]
    assert [result.inputs["question"] for result in failed] == ["q0", "q1", *(f"q{n}" for n in range(10, 16))]
    assert {result.error.type for result in failed if result.error} == {"TimeoutError"}
    assert len(results) == len(LINES)
