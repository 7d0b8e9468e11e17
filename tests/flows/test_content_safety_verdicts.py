"""Which annotations of the evaluation service are verdicts, by promptflow-evals' own parsing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.flows.content_safety import client, package, verdicts

RAI_SERVICE = package.load_rai_service(lambda: None)
LEVELS = ["Very low", "Very low", "Low", "Low", "Medium", "Medium", "High", "High"]


def _read(body: Any, metric: str = "violence") -> verdicts.Verdict:
    return verdicts.read_verdict(RAI_SERVICE, [{metric: body}], metric)


@pytest.mark.parametrize("severity", range(8))
def test_a_severity_and_its_level_are_those_of_promptflow_evals(severity):
    body = {"label": severity, "reasoning": "because"}
    theirs = RAI_SERVICE.parse_response([{"violence": str(body)}], "violence")
    assert theirs == {"violence": LEVELS[severity], "violence_score": severity, "violence_reason": "because"}
    for written in (body, str(body), json.dumps(body), {"output": body}, json.dumps({"output": body})):
        assert _read(written) == verdicts.Verdict(severity, LEVELS[severity], "because")


def test_a_severity_is_not_taken_from_the_reasons_digits():
    body = json.dumps({"reasoning": "5 persons, none harmed", "valid": True, "label": 0})
    assert RAI_SERVICE.parse_response([{"violence": body}], "violence")["violence_score"] == 5  # so would the package
    assert _read(body).score == 0


@pytest.mark.parametrize(
    ("label", "score"),
    [(True, 1), (False, 0), ("True", 1), ("false", 0)],
    ids=["true", "false", "True text", "false text"],
)
@pytest.mark.parametrize("write", [json.dumps, str, dict])
def test_protected_material_is_true_or_false(label, score, write):
    found = _read(write({"label": label, "reasoning": "because"}), "protected_material")
    assert found == verdicts.Verdict(score, str(bool(score)), "because")


NO_LABELS: list[Any] = [
    "",
    "5",
    5,
    None,
    [],
    "Very low",
    {},
    {"output": "4"},
    {"output": None},
    "{'label': 4",
    "(" * 10_000,
]
WRONG_LABELS: list[Any] = [None, "4", True, -1, 8, float("nan"), [4]]


@pytest.mark.parametrize("body", [*NO_LABELS, *({"label": label} for label in WRONG_LABELS)])
@pytest.mark.parametrize("metric", ["violence", "protected_material"])
def test_what_is_no_verdict_is_an_error(body, metric):
    if metric == "protected_material" and body == {"label": True}:
        return
    with pytest.raises(client.SafetyServiceError, match="cannot be read"):
        _read(body, metric)


@pytest.mark.parametrize("annotation", [[], {}, None, [{}], [{"sexual": {"label": 0}}], ["violence"], "violence"])
def test_an_annotation_without_the_metric_is_an_error(annotation):
    with pytest.raises(client.SafetyServiceError, match="holds no verdict"):
        verdicts.read_verdict(RAI_SERVICE, annotation, "violence")


def test_a_verdict_that_cannot_be_read_is_quoted_short():
    with pytest.raises(client.SafetyServiceError) as error:
        _read("x" * 10_000)
    assert len(str(error.value)) < 400
