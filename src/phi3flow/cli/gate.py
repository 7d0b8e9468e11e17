"""Hold a scored run to rules, and exit with what they say; for a pull request's check.

A rule passes by its bound of the 95 % interval, never by the value alone: chance passes a run that does not meet it
at most once in 40 times. It fails where even the opposite bound violates it. Between them it is undecided, and the
lines are named that would decide it. Where lines failed in a run it is decided twice: they count as the worst score,
and they are left out. If that makes a difference it is undecided too.

Rules:
  answer_match.f1 >= 0.6                           the lower bound; > likewise
  content_safety.defect_rate <= 1%                 the upper bound; < likewise; 1% is 0.01
  answer_match.f1 no worse than baseline by 0.05   a paired difference, in the metric's unit
  answer_match.f1 better than baseline             also: by 0.02
  lines >= 200                                     lines of the data with a score, of the metric that has fewest
  failed <= 2%                                     lines of the data that failed, in the run or in scoring: the share

Examples:
  phi3flow gate @latest --rule 'answer_match.f1 >= 0.6' --rule 'failed <= 2%'
  phi3flow gate tuned --baseline base --rule 'value_accuracy no worse than baseline by 0.05' --rule 'lines >= 200'
  phi3flow gate tuned --rule 'f1 >= 60%' --undecided pass --markdown gate.md --junit gate.xml

What the gate said is left in the run folder's gate.json, with --output in FILE too, for publishing.

Exit codes: 0 every rule passed; 1 one failed, or is undecided (unless --undecided pass); 2 usage, a rule that cannot
be read, a run without the scores, scores by unlike evaluations or of an earlier build.
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
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the run's gate.json there as well")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the outcome as Markdown")
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write it as JUnit XML, a test case a rule")
    add_runs_dir(parser)


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb: the outcome is said before anything is written, so that no full disk hides it."""
    from phi3flow.gating import gate_run, parse_rule, record_gate, render_junit, render_markdown
    from phi3flow.runs.promptflow_runs import open_run
    from phi3flow.storage.files import write_file

    rules = [parse_rule(text) for text in args.rule]
    gated = open_run(args.run, args.runs_dir)
    baseline = open_run(args.baseline, args.runs_dir) if args.baseline else None
    result = gate_run(gated, rules=rules, baseline=baseline, pair_by=args.pair_by)
    lenient = args.undecided == "pass"
    terminal.result(result.model_dump(mode="json"), _render(result, undecided_passes=lenient))
    record = record_gate(result, gated).model_dump_json(indent=2).encode() + b"\n"
    _leave_record(gated.path / "gate.json", record, terminal)
    if args.output:
        write_file(args.output, record)
    if args.markdown:
        write_file(args.markdown, render_markdown(result, undecided_passes=lenient).encode())
    if args.junit:
        write_file(args.junit, render_junit(result, undecided_passes=lenient))
    return 0 if result.outcome == "passed" or (result.outcome == "undecided" and lenient) else 1


def _leave_record(path: Path, record: bytes, terminal: Terminal) -> None:
    """Write the run's gate.json. A run folder that cannot be written does not change what the gate says."""
    from phi3flow.errors import StorageError
    from phi3flow.storage.files import write_file

    try:
        write_file(path, record)
    except StorageError as error:
        terminal.error(f"{error}. The outcome stands; --output FILE writes it elsewhere")


def _render(result: GateResult, *, undecided_passes: bool) -> RenderableType:
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from phi3flow.gating.documents import describe_lines, summarise, tabulate
    from phi3flow.text import visible

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    heads, rows = tabulate(result)
    for head in heads:
        table.add_column(head, overflow="fold", justify="left" if head in ("outcome", "rule") else "right")
    for row in rows:
        table.add_row(*map(visible, row))
    sentences = [*(rule.sentence for rule in result.rules), *describe_lines(result)]
    return Group(visible(summarise(result, undecided_passes=undecided_passes)), table, visible("\n".join(sentences)))
