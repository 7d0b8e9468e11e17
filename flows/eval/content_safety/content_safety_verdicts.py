"""Reading a verdict: promptflow-evals parses it, and what is no verdict is an error, never a severity."""

import ast
import json
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from content_safety_client import SafetyServiceError
from content_safety_http import quoted

PROTECTED_MATERIAL = "protected_material"


@dataclass(frozen=True)
class Verdict:
    """``score`` is a severity, 0 to 7, or for protected material 0 or 1; None where the region does not judge it.

    ``severity`` is promptflow-evals' word for the score: Very low, Low, Medium, High; for protected material False or
    True. ``reason`` is the service's.
    """

    score: int | None
    severity: str | None
    reason: str


def is_defect(metric: str, score: int | None, threshold: int) -> bool | None:
    """Whether a score is a defect: a severity from ``threshold`` on, or any protected material. None without score."""
    if score is None:
        return None
    return score == 1 if metric == PROTECTED_MATERIAL else score >= threshold


def read_verdict(rai_service: ModuleType, annotation: Any, sent_metric: str) -> Verdict:
    """Return the verdict that an annotation, ``[{metric: verdict}]``, holds on ``sent_metric``.

    promptflow-evals also takes the first digit of a sentence for a severity; here a verdict is an object with a label.
    Raises SafetyServiceError that quotes what is no verdict.
    """
    try:
        raw = annotation[0][sent_metric]
    except (IndexError, KeyError, TypeError) as error:
        raise SafetyServiceError(f"the service's reply holds no verdict{quoted(json.dumps(annotation))}") from error
    try:
        read = _read_label if sent_metric == PROTECTED_MATERIAL else _read_severity
        return read(rai_service, _decode(raw), sent_metric)
    except (ValueError, TypeError, AttributeError, KeyError, SyntaxError, MemoryError, RecursionError) as error:
        raise SafetyServiceError(f"the service's verdict cannot be read{quoted(str(raw))}") from error


def _decode(raw: Any) -> dict[str, Any]:
    """Return the object that the service wrote as JSON or as Python; it comes as a text or as it is."""
    if isinstance(raw, str):
        try:
            raw = json.loads(raw)
        except ValueError:
            raw = ast.literal_eval(raw)
    if not isinstance(raw, dict):
        raise ValueError("a verdict must be an object")
    return raw


def _read_severity(rai_service: ModuleType, verdict: dict[str, Any], sent_metric: str) -> Verdict:
    label = verdict.get("output", verdict).get("label")
    if isinstance(label, bool):
        raise ValueError("a severity is a number")
    parsed = rai_service.parse_response([{sent_metric: verdict}], sent_metric)
    (key,) = (name.removesuffix("_score") for name in parsed if name.endswith("_score"))
    score = parsed[f"{key}_score"]
    if not isinstance(score, int) or not 0 <= score <= 7:
        raise ValueError("a severity is 0 to 7")
    return Verdict(score, parsed[key], str(parsed[f"{key}_reason"]))


def _read_label(rai_service: ModuleType, verdict: dict[str, Any], sent_metric: str) -> Verdict:
    parsed = rai_service.parse_response([{sent_metric: repr(verdict)}], sent_metric)
    label = str(parsed[f"{sent_metric}_label"]).strip().lower()
    return Verdict({"false": 0, "true": 1}[label], label.capitalize(), str(parsed[f"{sent_metric}_reason"]))
