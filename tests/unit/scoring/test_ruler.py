"""What measured a run: the flow, the mapping as it was used, the run's outputs, and the judge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi3flow.flows import load_flow
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.scores import JudgeIdentity, Judging
from phi3flow.scoring.ruler import describe_ruler, output_names
from tests.support.flows.answer_match import FLOW
from tests.support.folders.answered_runs import make_run
from tests.support.paths import FLOWS

CONNECTION = ConnectionUse(name="judge", host="127.0.0.1:5000")
REPORTED = {"model": "gpt-4o", "package": "promptflow-evals 0.3.5", "prompts": {"fluency": "a" * 64}}
ROWS = [{"question": "q", "ground_truth": "t"}]


@pytest.mark.parametrize(
    ("judging", "identity"),
    [
        (None, None),
        (Judging(repeats=3), None),
        (Judging(connections=[CONNECTION], repeats=3, **REPORTED), JudgeIdentity(**REPORTED)),
        (Judging(connections=[CONNECTION]), JudgeIdentity(model="grade.deployment_name=gpt-4o")),
    ],
)
def test_a_judge_is_its_model_and_its_prompts_however_often_it_is_asked(judging: Any, identity: Any) -> None:
    overrides = {"grade.deployment_name": "gpt-4o"} if identity and not identity.prompts else {}
    flow = replace(load_flow(FLOW), overrides=overrides)
    assert describe_ruler(flow, {}, ["answer"], judging).judge == identity


def test_a_run_without_an_answer_has_the_outputs_that_its_flow_declares(tmp_path: Path) -> None:
    run = make_run(tmp_path, "run", ROWS, [None])
    flow = load_flow(FLOW)
    declared = list(load_flow(FLOWS / "chat_phi3").definition["outputs"])
    run_of_flow = make_run(tmp_path, "of_flow", ROWS, [None])
    manifest = run_of_flow.manifest.model_copy(update={"flow": str(FLOWS / "chat_phi3")})
    (run_of_flow.path / "manifest.json").write_text(manifest.model_dump_json())
    assert output_names(run_of_flow, run_of_flow.results(), flow, {}) == declared

    gone = run.manifest.model_copy(update={"flow": str(tmp_path / "gone")})
    (run.path / "manifest.json").write_text(gone.model_dump_json())
    assert output_names(run, run.results(), flow, {}) == ["answer"]
    assert output_names(run, run.results(), flow, {"answer": "${run.outputs.text}"}) == ["text"]
