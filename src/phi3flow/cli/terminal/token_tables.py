"""What a check of chat files found, as tables: breaches, examples that are too long, tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi3flow.text import plural

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

    from phi3flow.datasets.tokens import FileCheck


def token_tables(check: FileCheck, *, max_tokens: int) -> Group:
    """Return what is wrong with a file, what of it is too long, by file:line, and how its tokens are distributed."""
    from rich.console import Group
    from rich.text import Text

    from phi3flow.datasets.chat import LISTED_BREACHES, Breach, describe

    lines = [f"{check.file}: {check.examples} examples, {len(check.breaches)} breaches"]
    breaches = [Breach(check.file, breach.line, breach.reason) for breach in check.breaches]
    lines += [f"  {line}" for line in describe(breaches)]
    if check.nothing_to_learn:
        shown = ", ".join(map(str, check.nothing_to_learn[:LISTED_BREACHES]))
        more = " …" if len(check.nothing_to_learn) > LISTED_BREACHES else ""
        count = plural(len(check.nothing_to_learn), "example")
        lines.append(f"{count} with nothing to learn, every answer has weight 0: lines {shown}{more}")
    if check.examples and check.per_example is None:
        lines.append("tokens not counted")
    if check.per_example is None:
        return Group(Text("\n".join(lines)))
    lines.append(f"{len(check.over_limit)} examples over {max_tokens} tokens")
    lines += [f"  {example}" for example in check.too_long()]
    return Group(Text("\n".join(lines)), _statistics(check), _histogram(check))


def _statistics(check: FileCheck) -> Table:
    from rich.table import Table

    table = Table("tokens", "count", "min", "max", "mean", "median", "p5", "p95")
    for title, counts in (("an example", check.per_example), ("an assistant turn", check.per_assistant_turn)):
        if counts is not None:
            integers = (counts.n, counts.min, counts.max)
            figures = (counts.mean, counts.median, counts.p5, counts.p95)
            table.add_row(title, *map(str, integers), *(f"{figure:.1f}" for figure in figures))
    return table


def _histogram(check: FileCheck) -> Table:
    from rich.bar import Bar
    from rich.table import Table

    table = Table("tokens", "examples", "", box=None)
    largest = max(bin_.count for bin_ in check.histogram)
    for bin_ in check.histogram:
        table.add_row(f"{bin_.low}-{bin_.high}", str(bin_.count), Bar(largest, 0, bin_.count, width=50))
    return table
