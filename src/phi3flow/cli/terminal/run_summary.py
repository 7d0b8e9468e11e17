"""What is said of a run that has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phi3flow.cli.terminal.early_stop_line import describe_early_stop
from phi3flow.text import money

if TYPE_CHECKING:
    from phi3flow.runs.folder import RunFolder


def describe_run(run: RunFolder) -> str:
    """Return how a run ended, what it took, and the first failure."""
    manifest = run.manifest
    counts = manifest.counts
    line = (
        f"{manifest.name}: {manifest.status}, {counts.completed} of {counts.total} lines completed, "
        f"{counts.failed} failed, {counts.retries} retries, {manifest.duration_s:.1f} s"
    )
    if manifest.cache_hits:
        line += f", {manifest.cache_hits} answers from the cache"
    if early := manifest.stopped_early:
        line += f"\n  {describe_early_stop(early)}"
    line += _describe_aggregation(run)
    tokens = manifest.tokens
    if tokens and tokens.n_endpoint + tokens.n_tokenizer:
        line += f"\n  tokens: {tokens.prompt_tokens:,} in, {tokens.completion_tokens:,} out"
        counted = {"endpoint": tokens.n_endpoint, "tokenizer": tokens.n_tokenizer, "nobody": tokens.n_unknown}
        line += f" (lines counted by {', '.join(f'{who}: {n}' for who, n in counted.items() if n)})"
        least = "at least " if tokens.n_unknown else ""
        line += f", {least}{money(tokens.cost)} at the given prices" if tokens.cost is not None else ""
    failed = run.first_failure() if counts.failed else None
    if failed is not None and failed.error is not None:
        line += f"\n  first failure: line {failed.line_number}: {failed.error.type}: {failed.error.message}"
        if traceback := run.tracebacks().get(failed.line_number):
            line += f" ({traceback.place}; the traceback is in {run.name}/tracebacks.jsonl)"
    return line


def _describe_aggregation(run: RunFolder) -> str:
    aggregation = run.manifest.aggregation
    metrics = run.logged_metrics() if aggregation else {}
    text = f"\n  metrics: {', '.join(f'{name} {value}' for name, value in metrics.items())}" if metrics else ""
    if aggregation and aggregation.error:
        error = aggregation.error
        failed = f"the aggregation failed: {error.type}: {error.message}"
        text += f"\n  {failed}; the answers are kept: the same command tries it again"
    return text
