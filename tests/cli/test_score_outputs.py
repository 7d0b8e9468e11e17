"""phi3flow score with anybody's flow: which outputs are numbers, what is logged; nothing is lost in silence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phi3flow.cli.main import main
from phi3flow.flows.numbers import as_number
from phi3flow.records.scores import LineScore
from phi3flow.runs.folder import RunFolder
from phi3flow.scoring.estimates import estimate_metrics
from tests.cli.test_score import _foreign_flow
from tests.support.folders.answered_runs import make_run


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return make_run(tmp_path / ".runs", "run", [{"question": "?"}] * 4, ["a", "bb", "ccc", "dddd"])


def _score(run: RunFolder, flow: Path, *flags: str) -> int:
    return main(["score", str(run.path), "--flow", str(flow), *flags])


NUMBERS = """
def grade(answer: str) -> dict:
    import decimal, fractions
    import numpy as np
    n = len(answer)
    return {
        'single': np.float32(n) / 4, 'whole': np.int64(n > 2), 'truth': np.bool_(n > 2), 'zero_d': np.array(n / 4),
        'decimal': decimal.Decimal(n) / 4, 'fraction': fractions.Fraction(n, 4),
        'text': np.str_(n), 'array': np.ones(3), 'complex': np.complex64(1), 'bytes': b'1',
    }
"""


def test_numbers_of_any_library_are_scores(run, tmp_path):
    names = ["single", "whole", "truth", "zero_d", "decimal", "fraction", "text", "array", "complex", "bytes"]
    assert _score(run, _foreign_flow(tmp_path / "grades", NUMBERS, names)) == 0
    metrics = run.metrics("grades").metrics
    expected = {"single": 0.625, "whole": 0.5, "truth": 0.5, "zero_d": 0.625, "decimal": 0.625, "fraction": 0.625}
    assert {name: estimate.mean for name, estimate in metrics.items()} == pytest.approx(expected)
    assert [score.texts["text"] for score in run.scores("grades")] == ["1", "2", "3", "4"]


@pytest.mark.parametrize("nan", ["1e200", "-1e101", "np.float32('nan')", "np.float64('inf')", "decimal.Decimal('nan')"])
def test_no_number_of_any_library_is_a_failed_score(run, tmp_path, nan):
    tool = f"def grade(answer: str) -> dict:\n    import decimal\n    import numpy as np\n    return {{'one': {nan}}}\n"
    assert _score(run, _foreign_flow(tmp_path / "grades", tool, ["one"])) == 1
    assert {score.status for score in run.scores("grades")} == {"Failed"}


def test_a_size_that_no_float_holds_is_a_failed_score(run, tmp_path):
    flow = _foreign_flow(
        tmp_path / "grades", "def grade(answer: str) -> dict:\n    return {'one': 10 ** 400}\n", ["one"]
    )
    assert _score(run, flow) == 1


def test_a_text_that_looks_like_a_number_is_none():
    assert [as_number(value) for value in ("1", b"1", None, [1], {"a": 1}, 1j)] == [None] * 6


def test_what_an_aggregation_logs_is_kept_as_pf_keeps_it(run, tmp_path, capsys):
    total = (
        "def total(grades: list) -> None:\n"
        "    import numpy as np\n"
        "    log_metric('mean', np.float32(0.5))\n    log_metric('passed', np.bool_(True))\n"
        "    log_metric('label', 'excellent')\n    log_metric('nothing', None)\n    log_metric('nan', float('nan'))\n"
        "    log_metric('by_kind', {'a': 1})\n"
    )
    tool = "def grade(answer: str) -> dict:\n    return {'reason': answer}\n"
    flow = _foreign_flow(tmp_path / "grades", tool, ["reason"], aggregation=total)
    assert _score(run, flow) == 0
    scored = run.metrics("grades")
    means = {name: estimate.mean for name, estimate in scored.metrics.items()}
    assert means == {"mean": 0.5, "passed": 1.0, "nan": None}
    assert scored.metrics["nan"].note == "the aggregation logged nan"
    assert scored.texts == {"label": "excellent", "nothing": "null", "by_kind": '{"a": 1}'}
    assert "grades.label: excellent" in capsys.readouterr().out
    assert json.loads((run.path / "metrics.json").read_text())["grades.label"] == "excellent"


def test_a_flow_that_scores_nothing_says_so(run, tmp_path, capsys):
    tool = "def grade(answer: str) -> dict:\n    return {'reason': answer, 'tags': [1]}\n"
    assert _score(run, _foreign_flow(tmp_path / "grades", tool, ["reason", "tags"])) == 1
    assert "grades: scores nothing: none of its outputs is a number" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_the_aggregation_of_a_flex_flow_that_fails_is_said(run, tmp_path, capsys, kind):
    flow = tmp_path / "flex"
    flow.mkdir()
    (flow / "flow.flex.yaml").write_text("entry: grade:Grade\n", encoding="utf-8")
    (flow / "grade.py").write_text(
        "class Grade:\n    def __call__(self, answer: str) -> dict:\n        return {'long': len(answer) > 2}\n"
        f"    {kind} __aggregate__(self, lines: list) -> dict:\n        return {{'share': 1 / 0}}\n",
        encoding="utf-8",
    )
    assert _score(run, flow) == 1
    assert "flex: its aggregation failed: ZeroDivisionError: division by zero" in capsys.readouterr().err
    metrics = run.metrics("flex")
    assert metrics.metrics["long"].mean == 0.5
    assert metrics.aggregation_error
    assert metrics.aggregation_error.type == "ZeroDivisionError"


def test_a_reason_with_half_a_character_costs_no_line(run, tmp_path):
    tool = "def grade(answer: str) -> dict:\n    return {'one': 1, 'reason': chr(0xD83D)}\n"
    assert _score(run, _foreign_flow(tmp_path / "grades", tool, ["one", "reason"])) == 0
    assert run.scores("grades")[0].texts == {"reason": "?"}


def test_a_text_where_other_lines_have_a_number_is_a_score_that_failed(run, tmp_path):
    tool = "def grade(answer: str) -> dict:\n    return {'points': 'n/a' if answer == 'ccc' else 0.5}\n"
    assert _score(run, _foreign_flow(tmp_path / "grades", tool, ["points"])) == 1
    metric = run.metrics("grades").metrics["points"]
    assert (metric.mean, metric.n, metric.n_failed, metric.n_unscored) == (0.5, 3, 1, 1)
    assert run.scores("grades")[2].failures == {"points": "no number: n/a"}


@pytest.mark.parametrize(
    "value",
    ["[0.5]", "{'score': 0.5}", "(1, 2)", "1j", "datetime.date(2026, 1, 2)", "np.ones(1)", "b'1'"],
)
def test_what_is_no_number_where_other_lines_have_one_is_a_score_that_failed(run, tmp_path, value):
    tool = (
        "def grade(answer: str) -> dict:\n    import datetime\n    import numpy as np\n"
        f"    return {{'one': 1.0 if len(answer) < 3 else {value}}}\n"
    )
    assert _score(run, _foreign_flow(tmp_path / "grades", tool, ["one"])) == 1
    estimate = run.metrics("grades").metrics["one"]
    assert (estimate.n, estimate.n_failed, estimate.n_unscored) == (2, 2, 2)
    assert all(score.failures["one"].startswith("no number: ") for score in run.scores("grades")[2:])


def test_what_is_logged_under_a_metric_of_lines_is_kept_where_it_is_not_its_mean():
    lines = [LineScore(line_number=k, line_id=f"l{k}", status="Completed", scores={"f1": k / 4}) for k in range(4)]
    options = {"clusters": list("abcd"), "lines": 4, "ranges": {"f1": (0.0, 1.0)}}
    estimates = estimate_metrics(lines, logged={"f1": 0.123}, **options)
    assert (estimates["f1"].mean, estimates["f1_logged"].mean) == (0.375, 0.123)
    assert estimates["f1_logged"].method == "aggregation"
    assert set(estimate_metrics(lines, logged={"f1": 0.375}, **options)) == {"f1"}
