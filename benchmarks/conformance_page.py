"""The page that conformance.py writes: how the two sides of each case compare, and why where they differ."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from conformance_cases import MOST_LINES, SECTIONS, Case
from conformance_sides import CAUSED_BY, TOO_LONG, Outcome

_NEEDED = (
    re.compile(r"No module named '(?!promptflow)(\w+)[\w.]*'"),
    re.compile(r"Package tool '(?!promptflow)(\w+)\.[\w.]+\.[\w.]+' is not found"),
    re.compile(r"(the Assistants API) is not scripted"),
    re.compile(r"No such file or directory: '(dotnet)'"),
)
_NETWORK = re.compile(r"ProxyError|AntiSSRFException|gaierror|Failed to fetch image from URL|DNS resolution failed")
_LONGEST = 160

_NO_COLUMN = (
    "its run.yml names no column for chat_history: pf leaves it to its default, phi3flow takes the data's column"
)
_ANNOTATED = "pf wants annotations of types that it knows; phi3flow asks for none"
EXPLAINED = [
    (r".*", r"line \d+: (\w+: )*obj_id: \d+ by pf, \d+ by phi3flow", "it gives the address of an object"),
    (r".*", r"only pf refuses it: .*The input for flow cannot be empty.*", "pf runs no flow that has no inputs"),
    (r".*random_fail.*", r".*", "it fails at random"),
    (r".*conditional-flow-for-if-else", r"line \d+: answer: .*", "its safety check answers at random"),
    (
        r".*_simple_image.*",
        r"line \d+: output: .*data:image/.*;path'?: '[0-9a-f]{64}'.*",
        "it picks a picture at random",
    ),
    (r".*/chat_group_simulation", r"line \d+: output: .*_[0-9a-f-]{36}.*", "it gives a random identifier"),
    (
        r".*chat-with-pdf",
        r"1 requests of pf's and 0 .*",
        "it fails without the network, before or after the model is asked",
    ),
    (
        r".*eval-qna-non-rag",
        r"score gives ada_similarity 0\.66\d*, pf 0\.66",
        "its aggregation rounds; score gives the mean of the lines",
    ),
    (r".*chat-basic.*run.yml.*", r"line 2: [^;]* by pf, [^;]* by phi3flow; 1 requests .*", _NO_COLUMN),
    (r".*flex_flow_build.*run.yml.*", r"line 2: [^;]* by pf, [^;]* by phi3flow; 1 requests .*", _NO_COLUMN),
    (
        r"flex-flows/chat-(async-)?stream",
        r"line 2: .*(SingleQuotedScalarString|cannot pickle 'async_generator').*",
        "pf turns the default 1100 of the class's argument into a text, and fails; phi3flow leaves it to Python",
    ),
    (
        r".*eval-accuracy-maths-to-code",
        r"only phi3flow refuses it: .*prediction.*",
        "no column is the prediction: pf scores the sample default in every line, phi3flow refuses",
    ),
    (
        r"prompty/format-output/.*",
        r"only phi3flow refuses it: .*'first_name' would be its default .*",
        "the data's firstName is no first_name: pf takes the sample default, phi3flow refuses",
    ),
    (
        r".*/prompty_with_reference_file.prompty",
        r"only phi3flow refuses it: .*'question' gets no value.*",
        "no column is the question: pf asks that of its sample, phi3flow refuses",
    ),
    (r".*autonomous-agent", r"1 requests of pf's and 1 of phi3flow's .*", "its prompt holds the time"),
    (r".*flow_with_operation_context", r"line \d+: .*root-run-id: .*", "it gives the run's identifier"),
    (r".*/invalid_illegal_input_type", r"only pf refuses it: .*complex python type.*", _ANNOTATED),
    (r".*/non_json_serializable_output", r"only pf refuses it: .*return annotation.*", _ANNOTATED),
    (
        r".*/tool_with_assistant_definition",
        r"only pf refuses it: .*",
        "pf does not find the connection that an assistant's definition names; phi3flow does",
    ),
    (
        r".*/intent-copilot",
        r"only pf refuses it: .*chat_history.*",
        "the data has no chat_history: pf refuses it, phi3flow begins a conversation",
    ),
]
"""Why sides differ, by patterns of the flow's name and of the difference; what is not here is not explained."""

INTRODUCTION = f"""\
promptflow's public example flows, and the flows that its own tests run, by `pf run create` and by `phi3flow batch-run`,
side by side. `benchmarks/conformance.py FOLDER` wrote this page; FOLDER is a checkout of promptflow's repository, of
which nothing is copied here.

- Each flow runs over its author's rows ({MOST_LINES} at most), else over one row of its defaults; with its default
  variant, with each other one, and as its author's run.yml says. Both sides get the same column mapping: without one,
  `pf` leaves an input that has a default to it, also where the data has its column, which phi3flow takes.
- Compared are the outputs of every line as JSON, which lines failed and the type of what was raised, the metrics, and
  what the model was asked. Evaluation flows are scored by `phi3flow score` too.
- NaN and infinity, which JSON has not, are texts in phi3flow's files; they count as equal. So do a
  connection's secrets and the `***` that phi3flow puts in their place.
- Connections lead to a scripted model on 127.0.0.1, whose answers follow from the request; nothing else can be reached.
  So a flow that fetches a page gets none, on both sides.
- `pf` is the real one, its main called in a process that is forked for each command; its workers are forked as well.
"""


@dataclass(frozen=True)
class Row:
    """A case, what pf made of it, what phi3flow did, and what ``phi3flow score`` gave where it is an evaluation."""

    case: Case
    theirs: Outcome
    ours: Outcome
    scored: dict[str, Any]

    @property
    def difference(self) -> str:
        """What differs, in a few words; nothing where all that is compared is equal."""
        return "; ".join([*_differences(self.theirs, self.ours), *self._scored_otherwise()])

    @property
    def explanation(self) -> str | None:
        """Why the sides differ, where that is known."""
        known = (
            text
            for name, difference, text in EXPLAINED
            if re.fullmatch(name, self.case.name) and re.fullmatch(difference, self.difference)
        )
        return next(known, None) if self.difference else None

    @property
    def outcome(self) -> str:
        """One of equal, needs …, too long, both refuse it, fails alike, differs."""
        if self.difference:
            return "differs"
        if self.theirs.refusal == TOO_LONG:
            return TOO_LONG
        if self.needs:
            return f"needs {self.needs}"
        if self.theirs.refusal:
            return "both refuse it"
        return "equal" if self.theirs.outputs else "every line fails alike"

    @property
    def needs(self) -> str | None:
        """What the flow does not run without, and is not there on either side: a package, or the network."""
        sides = ["\n".join(side.reasons) for side in (self.theirs, self.ours)]
        if self.theirs.outputs or self.ours.outputs or not all(sides) or "wrong_flows" in self.case.flow.parts:
            return None
        if all(map(_NETWORK.search, sides)):
            return "the network"
        missing = {match.group(1) for text in sides for pattern in _NEEDED if (match := pattern.search(text))}
        return missing.pop() if len(missing) == 1 else None

    @property
    def lines(self) -> str:
        """How many lines there are, and failed under pf."""
        failed = len(self.theirs.failures)
        total = len(self.theirs.outputs) + failed
        return f"{total}, {failed} failed" if failed else str(total or "")

    @property
    def metrics(self) -> str:
        """How many metrics pf logged, where it did."""
        if self.theirs.aggregation_error:
            return "the aggregation fails"
        return f"{len(self.theirs.metrics)} equal" if self.theirs.metrics and not self.difference else ""

    def _scored_otherwise(self) -> Iterator[str]:
        """Yield where ``phi3flow score`` gives a metric that pf logs another value."""
        for name, value in self.theirs.metrics.items() if self.scored else ():
            if not _is_near(value, self.scored.get(name)):
                yield f"score gives {name} {_short(str(self.scored.get(name, self.scored.get('refused'))))}, pf {value}"
                return


def render_page(rows: Sequence[Row], heading: str) -> str:
    """Return the page."""
    parts = [f"# Conformance\n\n{heading}.\n", INTRODUCTION, _summary(rows)]
    examples, tests = ([row for row in rows if row.case.section == section] for section in SECTIONS)
    if examples:
        parts.append("## Examples\n\n" + _table(examples))
    if tests:
        rest = [row for row in tests if row.outcome not in ("equal", "both refuse it", "every line fails alike")]
        parts.append("## Test flows that differ, or did not run\n\n" + (_table(rest) if rest else "None.\n"))
    return "\n".join(parts)


def _summary(rows: Sequence[Row]) -> str:
    kinds = ("equal", "every line fails alike", "both refuse it", "did not run", "differs, explained", "differs")
    lines = [f"| | runs | {' | '.join(kinds)} |", f"|---|---:|{'---:|' * len(kinds)}"]
    for section in SECTIONS:
        of_section = [row for row in rows if row.case.section == section]
        counts = Counter(_kind(row) for row in of_section)
        cells = " | ".join(str(counts[kind]) for kind in kinds)
        lines.append(f"| {section} | {len(of_section)} | {cells} |")
    return "\n".join(lines) + "\n"


def _kind(row: Row) -> str:
    if row.explanation:
        return "differs, explained"
    return "did not run" if row.outcome == TOO_LONG or row.outcome.startswith("needs ") else row.outcome


def _table(rows: Sequence[Row]) -> str:
    lines = [
        "| flow | rows from | lines | outputs | metrics | model asked | difference |",
        "|---|---|---|---|---|---:|---|",
    ]
    for row in rows:
        reason = row.theirs.reasons[0] if row.outcome in ("both refuse it", "every line fails alike") else ""
        told = row.explanation or (f"**{row.difference}**" if row.difference else _short(reason))
        cells = [
            row.case.name,
            row.case.source,
            row.lines,
            row.outcome,
            row.metrics,
            str(len(row.theirs.requests) or ""),
        ]
        lines.append(f"| {' | '.join(_cell(cell) for cell in [*cells, told])} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    text = text.replace(".py'", "'")  # a page of ours names no file that is not there
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _differences(theirs: Outcome, ours: Outcome) -> Iterator[str]:
    if theirs.refusal or ours.refusal:
        if not (theirs.refusal and ours.refusal):
            side, refused = ("pf", theirs) if theirs.refusal else ("phi3flow", ours)
            yield f"only {side} refuses it: {_short(refused.refusal or '')}"
        return
    for number in sorted({*theirs.outputs, *theirs.failures, *ours.outputs, *ours.failures}):
        if difference := _line_difference(theirs, ours, number):
            yield f"line {number}: {difference}"
            break
    if not _equal(theirs.metrics, ours.metrics):
        yield f"metrics: {_short(str(theirs.metrics))} by pf, {_short(str(ours.metrics))} by phi3flow"
    if bool(theirs.aggregation_error) != bool(ours.aggregation_error):
        side, error = ("pf", theirs) if theirs.aggregation_error else ("phi3flow", ours)
        yield f"the aggregation fails only under {side}: {_short(error.aggregation_error or '')}"
    if theirs.requests != ours.requests:
        both = Counter(theirs.requests) & Counter(ours.requests)
        counts = len(theirs.requests) - both.total(), len(ours.requests) - both.total()
        yield f"{counts[0]} requests of pf's and {counts[1]} of phi3flow's are not the other's"


def _line_difference(theirs: Outcome, ours: Outcome, number: int) -> str | None:
    kinds = [_line_kind(theirs, number), _line_kind(ours, number)]
    if kinds[0] != kinds[1]:
        reason = theirs.failures.get(number) or ours.failures.get(number)
        because = f" ({_short(': '.join(reason))})" if reason else ""
        return f"{kinds[0]} under pf, {kinds[1]} under phi3flow{because}"
    if kinds[0] == "failed" and ours.failures[number][0] not in theirs.failures[number][0].split(CAUSED_BY):
        texts = [_short(": ".join(side.failures[number])) for side in (theirs, ours)]
        return f"fails with {texts[0]} under pf, {texts[1]} under phi3flow"
    if kinds[0] == "completed" and not _equal(theirs.outputs[number], ours.outputs[number]):
        one, other = _first_unequal(theirs.outputs[number], ours.outputs[number])
        return f"{_short(one)} by pf, {_short(other)} by phi3flow"
    return None


def _first_unequal(one: Any, other: Any, where: str = "") -> tuple[str, str]:
    """Return the innermost parts of two unequal values that differ, with the names on the way there."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        name = next(name for name in one if not _equal(one[name], other[name]))
        return _first_unequal(one[name], other[name], f"{where}{name}: ")
    return f"{where}{one!r}", repr(other)


def _line_kind(side: Outcome, number: int) -> str:
    return "completed" if number in side.outputs else "failed" if number in side.failures else "lacking"


def _equal(one: Any, other: Any) -> bool:
    """Whether two values of JSON are equal; NaN and infinity, which are none, are equal to their text."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    if isinstance(one, float) and not math.isfinite(one):
        return other == json.dumps(one) or str(other) == str(one)
    return type(one) is type(other) and one == other


def _is_near(one: Any, other: Any) -> bool:
    """Whether a metric is the other: a number up to rounding, anything else by what it says; NaN is no mean."""
    if isinstance(one, int | float) and isinstance(other, int | float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(one) and math.isnan(other))
    if isinstance(one, float) and not math.isfinite(one):
        return other is None
    return other is not None and str(one) == str(other)


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
