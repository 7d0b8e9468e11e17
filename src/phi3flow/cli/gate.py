"""Hold a scored run to rules, and exit with what they say; for a pull request's check.

A rule passes by its bound of the 95 % interval, never by the value alone: chance passes a run that does not meet it
at most once in 40 times. It fails where even the opposite bound violates it. Between them it is undecided, and the
lines are named that would decide it.

Rules:
  answer_match.f1 >= 0.6                           the lower bound; > likewise
  content_safety.defect_rate <= 1%                 the upper bound; < likewise; 1% is 0.01
  answer_match.f1 no worse than baseline by 0.05   a paired difference, in the metric's unit
  answer_match.f1 better than baseline             also: by 0.02
  lines >= 200                                     scored lines, of the metric that has fewest
  failed <= 2%                                     lines that failed, in the run or in scoring: the share itself

Examples:
  phi3flow gate @latest --rule 'answer_match.f1 >= 0.6' --rule 'failed <= 2%'
  phi3flow gate tuned --baseline base --rule 'value_accuracy no worse than baseline by 0.05' --rule 'lines >= 200'
  phi3flow gate tuned --rule 'f1 >= 60%' --undecided pass --markdown gate.md --junit gate.xml

Exit codes: 0 every rule passed; 1 one failed, or is undecided (unless --undecided pass); 2 usage, a rule that cannot
be read, a run without the scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import add_runs_dir
from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from rich.console import RenderableType

    from phi3flow.gating import GateResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("run", metavar="RUN", help="a name (of pf's too), a path, @latest or @previous")
    parser.add_argument("--rule", action="append", required=True, metavar="RULE", help="may be repeated: all must pass")
    parser.add_argument("--baseline", metavar="RUN", help="the run that rules compare with")
    parser.add_argument("--pair-by", metavar="COLUMN", help="pair lines by this column of the data, not by line_id")
    parser.add_argument(
        "--undecided", choices=["fail", "pass"], default="fail", help="what an undecided rule does (default: fail)"
    )
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the outcome as Markdown")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write it as JUnit XML, a test case a rule")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.gating import gate_run, parse_rule, render_junit, render_markdown
    from phi3flow.runs.promptflow_runs import open_run
    from phi3flow.storage.files import write_file

    rules = [parse_rule(text) for text in args.rule]
    gated = open_run(args.run, args.runs_dir)
    baseline = open_run(args.baseline, args.runs_dir) if args.baseline else None
    result = gate_run(gated, rules=rules, baseline=baseline, pair_by=args.pair_by)
    lenient = args.undecided == "pass"
    if args.markdown:
        write_file(args.markdown, render_markdown(result, undecided_passes=lenient).encode())
    if args.junit:
        write_file(args.junit, render_junit(result, undecided_passes=lenient))
    terminal.result(result.model_dump(mode="json"), _render(result, undecided_passes=lenient))
    return 0 if result.outcome == "passed" or (result.outcome == "undecided" and lenient) else 1


def _render(result: GateResult, *, undecided_passes: bool) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from phi3flow.gating.documents import describe_pairing, interval, summarise
    from phi3flow.text import visible

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("outcome")
    table.add_column("rule", overflow="fold")
    for name in ("value [95 %]", "lines", "lines needed"):
        table.add_column(name, justify="right")
    for rule in result.rules:
        needed = "" if rule.lines_needed is None else f"{rule.lines_needed:,}"
        table.add_row(rule.outcome, visible(rule.rule), interval(rule), f"{rule.n:,}", needed)
    pairing = describe_pairing(result)
    sentences = [*(rule.sentence for rule in result.rules), *([pairing] if pairing else [])]
    return Group(visible(summarise(result, undecided_passes=undecided_passes)), table, visible("\n".join(sentences)))
