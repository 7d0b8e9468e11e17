"""A gate's outcome for others to show: Markdown for a job's summary, JUnit XML for a list of tests.

Names of runs and metrics, and the rules, come from elsewhere: they are shown as text and never as markup.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from xml.etree import ElementTree

from phi3flow.gating.sentences import describe_failed
from phi3flow.records.comparisons import Sides
from phi3flow.records.gates import GateResult, RuleResult
from phi3flow.text import plural, visible

_MARKUP = re.compile(r"[\\`*_{}\[\]<>#|&~!@$^]|(?<=\w):(?=//)|(?<=www)\.", re.IGNORECASE)
_COUNTED = {"failures": "failure", "skipped": "skipped"}
_MARKS = {"passed": "✅", "failed": "❌", "undecided": "❔"}


def summarise(result: GateResult, *, undecided_passes: bool) -> str:
    """Return one line: what the gate says about which run, and how many lines of which failed."""
    against = f" against {result.baseline}" if result.baseline else ""
    counted = " (undecided rules are let pass)" if result.outcome == "undecided" and undecided_passes else ""
    failed = describe_failed(result)
    return f"Gate {result.outcome}{counted}: {result.run}{against}{f'; {failed}' if failed else ''}"


def describe_lines(result: GateResult) -> list[str]:
    """Return which lines were compared, and which failures another try may mend."""
    pairing = _describe_pairing(result)
    return [*([pairing] if pairing else []), *(f"{note}." for note in result.notes)]


def _describe_pairing(result: GateResult) -> str | None:
    if result.unmatched is None:
        return None
    text = f"{plural(result.n_paired or 0, 'line')} paired"
    if result.unmatched.baseline or result.unmatched.candidate:
        text += f"; only in the baseline: {result.unmatched.baseline}, only in the run: {result.unmatched.candidate}"
    if result.measured_otherwise:
        text += f"; left out, as the data that they were scored by differ: {result.measured_otherwise:,}"
    return f"{text}."


def interval(rule: RuleResult) -> str:
    """Return "0.6320 [0.5881, 0.6759]", without what the rule has not."""
    if rule.value is None:
        return "none"
    sign = "+" if rule.margin is not None else ""
    value = f"{rule.value:{sign}.4f}" if rule.metric or rule.value != int(rule.value) else f"{rule.value:,.0f}"
    return value if rule.low is None else f"{value} [{rule.low:{sign}.4f}, {rule.high:{sign}.4f}]"


def failures(rule: RuleResult) -> str:
    """Return "3 / 55": lines that failed on either side; "+ 2 / 0 not scored" apart; "" where none has."""
    texts = [_sides(rule, rule.failed), _sides(rule, rule.unscored)]
    return " + ".join(text + suffix for text, suffix in zip(texts, ("", " not scored"), strict=True) if text)


def tabulate(result: GateResult) -> tuple[list[str], list[list[str]]]:
    """Return the heads and rows of a table of the rules; a column of failures only where lines failed."""
    columns: list[tuple[str, Callable[[RuleResult], str]]] = [
        ("outcome", lambda rule: rule.outcome),
        ("rule", lambda rule: rule.rule),
        ("value [interval]", interval),
        ("lines", lambda rule: f"{rule.n:,}"),
        ("failed", failures),
        ("lines needed", lambda rule: "" if rule.lines_needed is None else f"{rule.lines_needed:,}"),
    ]
    if not any(map(failures, result.rules)):
        columns = [column for column in columns if column[1] is not failures]
    return [head for head, _ in columns], [[cell(rule) for _, cell in columns] for rule in result.rules]


def render_markdown(result: GateResult, *, undecided_passes: bool) -> str:
    """Return the gate as GitHub-flavoured Markdown: a heading, a table of the rules, a sentence for each."""
    heads, rows = tabulate(result)
    lines = [
        f"## {_escape(summarise(result, undecided_passes=undecided_passes))}",
        "",
        _row(heads),
        _row(["---", "---", *["---:"] * (len(heads) - 2)]),
        *(_row([f"{_MARKS[rule.outcome]} {row[0]}", *row[1:]]) for rule, row in zip(result.rules, rows, strict=True)),
        "",
        *(f"- {_escape(rule.sentence)}" for rule in result.rules),
        *(line for sentence in describe_lines(result) for line in ("", _escape(sentence))),
    ]
    return "\n".join(lines) + "\n"


def render_junit(result: GateResult, *, undecided_passes: bool) -> bytes:
    """Return the gate as JUnit XML, a test case a rule; undecided is a failure, or skipped where that passes."""
    suite = ElementTree.Element("testsuite", name=_text(f"phi3flow gate {result.run}"))
    for rule in result.rules:
        case = ElementTree.SubElement(suite, "testcase", classname=_text(result.run), name=_text(rule.rule))
        if rule.outcome == "undecided" and undecided_passes:
            ElementTree.SubElement(case, "skipped", message=_text(rule.sentence))
        elif rule.outcome != "passed":
            ElementTree.SubElement(case, "failure", type=rule.outcome, message=_text(rule.sentence))
        else:
            ElementTree.SubElement(case, "system-out").text = _text(rule.sentence)
    counts = {name: str(len(suite.findall(f"testcase/{tag}"))) for name, tag in _COUNTED.items()}
    suite.attrib.update({"tests": str(len(result.rules)), **counts, "errors": "0"})
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"


def _sides(rule: RuleResult, lines: Sides) -> str:
    if not lines.baseline and not lines.candidate:
        return ""
    return f"{lines.baseline:,} / {lines.candidate:,}" if rule.margin is not None else f"{lines.candidate:,}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(_escape, cells)) + " |"


def _escape(text: str) -> str:
    return _MARKUP.sub(lambda match: "\\" + match.group(), _text(text))


def _text(text: str) -> str:
    """Return text on one line, with the characters shown that XML refuses or that would hide others."""
    return " ".join(visible(text).split())
