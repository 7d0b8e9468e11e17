"""batch-run --history own: whole conversations, each line with what this run answered before it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from phi3flow.storage.jsonl import write_rows
from tests.support.flows.chat_flow import FLOW
from tests.support.folders.batch_project import CONNECTION, BatchProject, wait_until
from tests.support.servers.fault_endpoint import Attempts, FaultEndpoint, Reply


def _turn(question: str, answer: str) -> dict[str, Any]:
    return {"inputs": {"question": question}, "outputs": {"answer": answer}}


def _rows(conversations: int, turns: int) -> list[dict[str, Any]]:
    rows = []
    for c in range(conversations):
        history: list[Any] = []
        for t in range(turns):
            question = f"c{c} t{t}"
            rows.append({"conversation_id": f"c{c}", "question": question, "chat_history": list(history)})
            history.append(_turn(question, f"recorded {c} {t}"))
    return rows


class Conversations(BatchProject):
    """A project whose flow is flows/chat_phi3 and whose lines are ``rows``."""

    def __init__(self, folder: Path, rows: list[dict[str, Any]]) -> None:
        super().__init__(folder, lines=1)
        self.lines = len(rows)
        write_rows(self.data, rows)
        shutil.rmtree(self.flow)
        shutil.copytree(FLOW, self.flow, ignore=shutil.ignore_patterns("__pycache__", ".promptflow"))
        connection = CONNECTION.replace("name: endpoint", "name: phi3_endpoint")
        (folder / "connections" / "endpoint.yml").write_text(connection, encoding="utf-8")


def _histories(project: Conversations) -> list[Any]:
    return [result.inputs.get("chat_history") for result in project.run.results()]


def _kept(project: Conversations) -> int:
    return project.results_file.read_bytes().count(b"\n")


def _expected(conversations: int, turns: int) -> list[Any]:
    return [
        [_turn(f"c{c} t{n}", f"echo: c{c} t{n}") for n in range(t)] for c in range(conversations) for t in range(turns)
    ]


def test_each_turn_gets_the_models_own_answers(tmp_path: Path) -> None:
    project = Conversations(tmp_path, _rows(12, 4))
    with FaultEndpoint(lambda request: Reply(delay_s=0.1)) as endpoint:
        done = project.finish(endpoint, "--history", "own")
        assert done.returncode == 0, done.stderr
        assert 3 < endpoint.peak_in_flight <= 12
        sent = [[m["content"] for m in r.messages] for r in endpoint.requests]
    assert _histories(project) == _expected(12, 4)
    assert ["c3 t0", "echo: c3 t0", "c3 t1", "echo: c3 t1", "c3 t2"] in [each[1:] for each in sent]
    manifest = json.loads((project.runs_dir / "run" / "manifest.json").read_text())
    assert manifest["parameters"]["history"] == "own"
    again = project.finish(endpoint, "--history", "given")
    assert again.returncode == 2
    assert "history was 'own', is 'given'" in again.stderr


def test_lines_may_be_interleaved_and_have_no_recorded_history(tmp_path: Path) -> None:
    rows = [row for t in range(3) for row in _rows(5, 3)[t::3]]
    rows = [{k: v for k, v in row.items() if k != "chat_history"} for row in rows]
    project = Conversations(tmp_path, rows)
    with FaultEndpoint() as endpoint:
        done = project.finish(endpoint, "--history", "own")
    assert done.returncode == 0, done.stderr
    expected = _expected(5, 3)
    assert _histories(project) == [each for t in range(3) for each in expected[t::3]]


def test_a_turn_that_is_no_line_stays_as_recorded(tmp_path: Path) -> None:
    rows = _rows(1, 4)
    del rows[1]
    project = Conversations(tmp_path, rows)
    with FaultEndpoint() as endpoint:
        assert project.finish(endpoint, "--history", "own").returncode == 0
    assert _histories(project)[-1] == [
        _turn("c0 t0", "echo: c0 t0"),
        _turn("c0 t1", "recorded 0 1"),
        _turn("c0 t2", "echo: c0 t2"),
    ]


def test_a_failed_turn_fails_the_later_ones_and_the_same_command_mends_all(tmp_path: Path) -> None:
    project = Conversations(tmp_path, _rows(6, 4))
    with FaultEndpoint(Attempts({"c2 t1": [400]})) as endpoint:
        done = project.finish(endpoint, "--history", "own")
        assert len(endpoint.requests) == 6 * 4 - 2
    assert done.returncode == 1
    failed = {r.line_number: r.error for r in project.run.results() if r.status == "Failed"}
    assert sorted(failed) == [9, 10, 11]
    assert failed[9].status_code == 400
    assert [failed[n].type for n in (10, 11)] == ["EarlierTurnFailed"] * 2
    assert "line 9, an earlier turn of conversation c2, failed" in failed[11].message
    assert done.counts == {"total": 24, "completed": 21, "failed": 3, "retries": 0}
    with FaultEndpoint(port=endpoint.port) as endpoint:
        done = project.finish(endpoint, "--history", "own")
        assert len(endpoint.requests) == 3
    assert done.returncode == 0
    assert json.loads(done.stdout)["cache_hits"] == 0
    assert _histories(project) == _expected(6, 4)


@pytest.mark.slow
def test_transient_faults_are_retried_in_place(tmp_path: Path) -> None:
    project = Conversations(tmp_path, _rows(6, 4))
    script = Attempts({f"c{c} t{t}": [503, Reply(fault="reset"), None] for c in range(6) for t in (1, 3)})
    with FaultEndpoint(script) as endpoint:
        done = project.finish(endpoint, "--history", "own")
    assert done.returncode == 0, done.stderr
    assert _histories(project) == _expected(6, 4)


@pytest.mark.slow
def test_a_killed_run_goes_on_and_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    project = Conversations(tmp_path, _rows(20, 5))
    with FaultEndpoint(lambda request: Reply(delay_s=0.02)) as endpoint:
        for part in (15, 45, 80):
            process = project.start(endpoint, "--history", "own", "--concurrency", "4", start_new_session=True)
            wait_until(lambda part=part: project.results_file.exists() and _kept(project) >= part)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        done = project.finish(endpoint, "--history", "own")
        requests = len(endpoint.requests)
    assert done.returncode == 0, done.stderr
    assert requests <= 100 + 3 * 4
    assert _histories(project) == _expected(20, 5)


def test_a_turn_that_is_always_500_fails_its_conversation_and_no_other(tmp_path: Path) -> None:
    project = Conversations(tmp_path, _rows(3, 3))
    with FaultEndpoint(Attempts({"c1 t0": [500]})) as endpoint:
        done = project.finish(endpoint, "--history", "own", "--max-retries", "1")
    assert done.returncode == 1, done.stderr
    assert done.counts["failed"] == 3


def test_turns_out_of_order_are_refused(tmp_path: Path) -> None:
    rows = _rows(1, 3)
    project = Conversations(tmp_path, [rows[1], rows[0], rows[2]])
    with FaultEndpoint() as endpoint:
        done = project.finish(endpoint, "--history", "own")
        assert not endpoint.requests
    assert done.returncode == 2
    assert "needs each turn once, in order" in done.stderr


@pytest.mark.slow
def test_the_cache_knows_a_line_by_the_history_that_it_got(tmp_path: Path) -> None:
    project = Conversations(tmp_path, _rows(3, 3))
    flags = ("--cache", "--column-mapping", "temperature=0")
    with FaultEndpoint() as endpoint:
        assert project.finish(endpoint, *flags).returncode == 0
        given = len(endpoint.requests)
        assert project.finish(endpoint, *flags, "--history", "own", "--fresh").returncode == 0
        own = len(endpoint.requests)
        assert project.finish(endpoint, *flags, "--history", "own", "--fresh").returncode == 0
        assert (given, own, len(endpoint.requests)) == (9, 9 + 6, 9 + 6)
    assert _histories(project) == _expected(3, 3)


def test_each_repeat_has_its_own_history(tmp_path: Path) -> None:
    project = Conversations(tmp_path, _rows(2, 3))
    with FaultEndpoint() as endpoint:
        done = project.finish(endpoint, "--history", "own", "--repeats", "2")
    assert done.returncode == 0, done.stderr
    assert _histories(project) == _expected(2, 3) * 2
