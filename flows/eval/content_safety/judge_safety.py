"""Have the evaluation service judge one answer for harm."""

from typing import Any

from content_safety_service import SENT_METRICS, Project, judge
from content_safety_verdicts import is_defect
from promptflow.core import tool


@tool
async def judge_safety(
    question: str,
    answer: str,
    subscription_id: str,
    resource_group_name: str,
    project_name: str,
    defect_threshold: int,
    timeout_s: float,
) -> dict[str, Any]:
    """Return the severities (0 to 7), what of them is a defect (0 or 1), and the verdicts with their reasons.

    A metric without a verdict is None, and ``failures`` says why: a severity of 0 would say that the answer is
    harmless. ``defect_rate`` is None then too, even where another metric finds one: lines that are known by halves
    would count only when they are bad. Protected material is None without a failure where the project's region does
    not judge it.
    """
    if not 1 <= defect_threshold <= 7:
        raise ValueError(f"defect_threshold is {defect_threshold}: it must be a severity, 1 to 7")
    project = Project.of(subscription_id, resource_group_name, project_name)
    judged = await judge(question, answer, project=project, timeout_s=timeout_s)
    verdicts, failures = judged.verdicts, {name: str(error) for name, error in judged.failures.items()}
    defects = {name: is_defect(name, verdict.score, defect_threshold) for name, verdict in verdicts.items()}
    if failures:
        unknown = f"not known without a verdict on {', '.join(failures)}"
        failures |= {f"{name}_defect_rate": reason for name, reason in failures.items()} | {"defect_rate": unknown}
    return {
        **{name: verdicts[name].score if name in verdicts else None for name in SENT_METRICS},
        **{f"{name}_defect_rate": _as_number(defects.get(name)) for name in SENT_METRICS},
        "defect_rate": None if failures else int(any(defects.values())),
        "verdicts": {
            name: {"severity": verdict.severity, "reason": verdict.reason, "defect": defects[name]}
            for name, verdict in verdicts.items()
        },
        "failures": failures,
    }


def _as_number(defect: bool | None) -> int | None:
    return None if defect is None else int(defect)
