"""What every engine of batch-run owes: the same flow over the same lines is the same run, wherever it is executed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from phi3flow.engines.engine import RunDisplay
from phi3flow.engines.table import ENGINES, pick_engine
from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import with_line_ids
from tests.contract.engine_worlds import SLOW, WORLDS, World, make_project
from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import write_lines
from tests.support.folders.run_folders import line, measured_by, write_run
from tests.support.paths import FLOWS

ROWS: list[dict[str, Any]] = [
    {"question": "Who founded Velmora?", "ground_truth": "Anna Velm"},
    {"question": "Where is it?", "ground_truth": "In Rome", "line_id": "mine"},
    {
        "question": "And when?",
        "chat_history": [{"inputs": {"question": "Hello"}, "outputs": {"answer": "Hello!"}}],
        "ground_truth": "Long ago",
    },
    {"question": "Who founded Velmora?", "ground_truth": "Anna Velm"},
]
LINE_IDS = [line_id for line_id, _ in with_line_ids(ROWS)]
WORDS = {
    "--baseline": ["--baseline", "scored", "--stop-when-decided", "answer_match.f1"],
    "--cache": ["--cache"],
    "--fail-fast": ["--fail-fast", "1"],
    "--history": ["--history", "own"],
    "--init": ["--init", "style=short"],
    "--max-failures": ["--max-failures", "5"],
    "--max-retries": ["--max-retries", "1"],
    "--price-in": ["--price-in", "1"],
    "--price-out": ["--price-out", "1"],
    "--rpm": ["--rpm", "60"],
    "--stop-when-decided": ["--baseline", "scored", "--stop-when-decided", "answer_match.f1"],
    "--tokenizer": ["--tokenizer", "models/support"],
    "--tpm": ["--tpm", "60"],
    "--trace": ["--trace"],
    "--workers": ["--workers", "2"],
}
"""How each flag that some engine refuses is given."""


@pytest.fixture(scope="module", params=[pytest.param(e, marks=[pytest.mark.slow] * (e in SLOW)) for e in ENGINES])
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def module_world(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with WORLDS[engine](tmp_path_factory.mktemp(engine)) as world:
        yield world


@pytest.fixture
def world(module_world: World) -> World:
    """What the engine needs, as if no test had used it."""
    module_world.refused.clear()
    module_world.questions.clear()
    return module_world


@pytest.fixture
def project(tmp_path: Path) -> Path:
    make_project(tmp_path)
    write_lines(tmp_path / "lines.jsonl", ROWS)
    return tmp_path


def _batch_run(world: World, project: Path, engine: str, *flags: str, flow: str = "flows/chat_phi3") -> Done:
    command = ["batch-run", flow, "--data", "lines.jsonl", "--engine", engine, "--yes", "--json"]
    return world.phi3flow(*command, *flags, cwd=project)


def _run(project: Path, name: str) -> RunFolder:
    return RunFolder(project / ".runs" / name)


def test_every_engine_is_tested_here() -> None:
    assert set(WORLDS) == set(ENGINES)


def test_the_same_lines_give_the_same_run(engine: str, world: World, project: Path) -> None:
    ended = _batch_run(world, project, engine, "--name", f"same-{engine}")
    assert ended.returncode == 0, ended.stderr
    run = _run(project, f"same-{engine}")
    manifest = run.manifest
    assert json.loads(ended.stdout)["counts"] == {"total": 4, "completed": 4, "failed": 0, "retries": 0}
    assert manifest.status == "Completed"
    assert manifest.connections["phi3_endpoint"].host
    assert manifest.parameters.max_retries == pick_engine(engine).max_retries
    results = run.results()
    assert [result.line_number for result in results] == [0, 1, 2, 3]
    assert [result.line_id for result in results] == LINE_IDS
    assert {(result.status, result.error) for result in results} == {("Completed", None)}
    inputs = [{name: row[name] for name in ("question", "chat_history") if name in row} for row in ROWS]
    assert [result.inputs for result in results] == inputs
    assert [result.outputs for result in results] == [{"answer": f"echo: {row['question']}"} for row in ROWS]
    assert sorted(world.questions) == sorted(row["question"] for row in ROWS)


def test_a_line_that_fails_is_recorded_and_it_alone_is_tried_again(engine: str, world: World, project: Path) -> None:
    world.refused.add("Where is it?")
    name = f"failing-{engine}"
    ended = _batch_run(world, project, engine, "--name", name)
    assert ended.returncode == 1, ended.stderr
    run = _run(project, name)
    assert run.manifest.status == "Completed"
    assert [result.status for result in run.results()] == ["Completed", "Failed", "Completed", "Completed"]
    failed = run.results()[1]
    assert (failed.line_id, failed.outputs, failed.inputs) == ("mine", None, {"question": "Where is it?"})
    assert failed.error is not None
    assert failed.error.message
    world.refused.clear()
    world.questions.clear()
    assert _batch_run(world, project, engine, "--name", name).returncode == 0
    assert world.questions == ["Where is it?"]
    assert [result.status for result in run.results()] == ["Completed"] * 4
    assert run.manifest.counts.completed == 4


def test_the_same_command_again_executes_nothing(engine: str, world: World, project: Path) -> None:
    name = f"again-{engine}"
    first = _batch_run(world, project, engine, "--name", name)
    before = _run(project, name).results()
    world.questions.clear()
    second = _batch_run(world, project, engine, "--name", name)
    assert (first.returncode, second.returncode) == (0, 0), second.stderr
    assert json.loads(second.stdout)["counts"] == json.loads(first.stdout)["counts"]
    assert world.questions == []
    assert _run(project, name).results() == before


def test_several_variants_are_a_run_each(engine: str, world: World, project: Path) -> None:
    ended = _batch_run(world, project, engine, "--variant", "concise", "--variant", "few_shot", "--limit", "1")
    assert ended.returncode == 0, ended.stderr
    output = json.loads(ended.stdout)
    assert [run["counts"]["completed"] for run in output["runs"]] == [1, 1]
    assert [run["variant"] for run in output["runs"]] == ["${system_prompt.concise}", "${system_prompt.few_shot}"]
    assert output["comparisons"][0]["n_paired"] == 1


@pytest.mark.parametrize(("engine", "flag"), [(name, flag) for name in ENGINES for flag in pick_engine(name).refuses])
def test_a_flag_that_an_engine_cannot_follow_is_refused(engine: str, flag: str, project: Path) -> None:
    flow = project / "flex"
    flow.mkdir()
    (flow / "flow.flex.yaml").write_text("entry: ask:Ask\n", encoding="utf-8")
    (flow / "ask.py").write_text("class Ask:\n    def __call__(self, question: str): ...\n", encoding="utf-8")
    scored = write_run(project / ".runs/scored", [line(0, "yes")], scores={"answer_match": {"f1": [1.0]}})
    measured_by(scored, load_flow(FLOWS / "eval/answer_match"), {"answer": "${run.outputs.answer}"})
    ended = _batch_run(World(), project, engine, *WORDS[flag], flow="flex" if flag == "--init" else "flows/chat_phi3")
    assert ended.returncode == 2
    assert any(f"{word} does not go with --engine {engine}" in ended.stderr for word in WORDS[flag])
    assert [path.name for path in (project / ".runs").iterdir() if path.is_dir()] == ["scored"]


class _Nowhere:
    """An engine that executes nothing."""

    max_retries = 9
    refuses = ("--rpm",)

    def __init__(self, name: str) -> None:
        self.name = name
        self.retries: list[int] = []

    def run(self, plans: Sequence[RunPlan], *, fresh: bool, display: RunDisplay) -> list[RunFolder]:
        self.retries += [plan.options.limits.max_retries for plan in plans]
        assert not display.confirm("Nothing, for nothing?")
        return []


def test_an_engine_more_is_an_entry_in_the_table(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = _Nowhere("nowhere")
    monkeypatch.setitem(ENGINES, "nowhere", lambda _: nowhere)  # type: ignore[arg-type]
    command = ["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--engine", "nowhere"]
    ended = phi3flow(*command, cwd=project)
    assert (ended.returncode, nowhere.retries) == (1, [9])
    assert "Nothing, for nothing? Nothing was done" in ended.stderr
    assert "--rpm does not go with --engine nowhere" in phi3flow(*command, "--rpm", 60, cwd=project).stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_picking_an_engine_imports_no_library_of_another(engine: str) -> None:
    code = (
        f"import sys\nfrom phi3flow.engines.table import pick_engine\npick_engine({engine!r})\n"
        "print(*sorted({'ray', 'azure', 'promptflow'} & set(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert output.split() == []
