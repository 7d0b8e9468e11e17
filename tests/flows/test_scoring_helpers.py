"""Many lines are scored by several processes: the same scores, whatever becomes of the other processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from phi3flow.flows import load_flow
from phi3flow.records.scores import LineScore
from phi3flow.runs.folder import RunFolder
from phi3flow.scoring import processes as helpers
from phi3flow.scoring import score_run
from tests.support.folders.answered_runs import make_run

LINES = 300
EVALUATION = """
import os, time

class Match:
    def __call__(self, answer: str, ground_truth: str) -> dict:
        if answer.endswith("77"):
            raise ValueError(f"cannot score {answer}")
        time.sleep(0.02)
        is_helper = os.getpid() != int(os.environ["SCORING_PROCESS"])
        WHAT_A_HELPER_DOES
        return {"match": float(answer == ground_truth), "is_helper": is_helper, "kept": KEPT}

    def __aggregate__(self, lines: list) -> dict:
        return {"matches": sum(line["match"] for line in lines)}
"""


@pytest.fixture(autouse=True)
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "processors", lambda: 2)
    monkeypatch.setattr(helpers, "_LINES_EACH", LINES // 2)
    monkeypatch.setenv("SCORING_PROCESS", str(os.getpid()))


def _score(folder: Path, *, does: str = "pass", kept: str = "None", lines: int = LINES) -> RunFolder:
    rows = [{"question": f"q{number}", "ground_truth": f"q{number % 2 * number}"} for number in range(lines)]
    run = make_run(folder / ".runs", "run", rows, [f"q{number}" for number in range(lines)])
    flow = folder / "match"
    flow.mkdir()
    (flow / "flow.flex.yaml").write_text("entry: match:Match\n", encoding="utf-8")
    code = EVALUATION.replace("WHAT_A_HELPER_DOES", does).replace("KEPT", kept)
    (flow / "match.py").write_text(code, encoding="utf-8")
    score_run(run, flow=load_flow(flow), connections=dict)
    return run


def _check(scores: list[LineScore]) -> None:
    assert [score.line_number for score in scores] == list(range(LINES))
    for score in scores:
        if score.line_number % 100 == 77:
            assert score.error
            assert score.error.message == f"cannot score q{score.line_number}"
        else:
            assert score.scores["match"] == float(score.line_number % 2 == 1 or score.line_number == 0)


def test_a_helper_scores_its_share(tmp_path: Path) -> None:
    run = _score(tmp_path)
    scores = run.scores("match")
    _check(scores)
    by_helper = sum(score.scores.get("is_helper") or 0.0 for score in scores)
    assert 0 < by_helper < LINES
    assert run.metrics("match").metrics["matches"].mean == 1 + (LINES // 2 - 3)


@pytest.mark.parametrize(
    ("does", "kept"),
    [
        pytest.param("if is_helper: os._exit(3)", "None", id="it dies"),
        pytest.param("if is_helper: os.close(1), os.kill(os.getpid(), 9)", "None", id="it is killed"),
        pytest.param("pass", "(lambda: 0) if is_helper else None", id="what it gave cannot be handed over"),
    ],
)
def test_a_helper_that_fails_costs_no_line(tmp_path: Path, does: str, kept: str) -> None:
    scores = _score(tmp_path, does=does, kept=kept).scores("match")
    _check(scores)
    assert not any(score.scores.get("is_helper") for score in scores)


def test_few_lines_are_scored_here(tmp_path: Path) -> None:
    scores = _score(tmp_path, lines=LINES // 2).scores("match")
    assert not any(score.scores.get("is_helper") for score in scores)
