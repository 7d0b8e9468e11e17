"""A gate: rules that a scored run has to meet, decided by the bounds of intervals and not by point values.

It never scores and never runs a flow: what was not measured is undecided.
"""

from __future__ import annotations

from phi3flow.gating.documents import render_junit, render_markdown
from phi3flow.gating.gate import gate_run, record_gate
from phi3flow.gating.rules import Rule, parse_rule
from phi3flow.records.gates import GateRecord, GateResult, Outcome, RuleResult

__all__ = [
    "GateRecord",
    "GateResult",
    "Outcome",
    "Rule",
    "RuleResult",
    "gate_run",
    "parse_rule",
    "record_gate",
    "render_junit",
    "render_markdown",
]
