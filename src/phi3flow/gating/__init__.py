"""A gate: rules that a scored run has to meet, decided by the bounds of intervals and not by point values.

It never scores and never runs a flow: what was not measured is undecided.
"""

from __future__ import annotations

from phi3flow.gating.decisions import GateResult, Outcome, RuleResult
from phi3flow.gating.documents import render_junit, render_markdown
from phi3flow.gating.gate import gate_run
from phi3flow.gating.rules import Rule, parse_rule

__all__ = [
    "GateResult",
    "Outcome",
    "Rule",
    "RuleResult",
    "gate_run",
    "parse_rule",
    "render_junit",
    "render_markdown",
]
