"""What a run will be, before it spends anything."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from phi3flow.errors import ConfigError
from phi3flow.flows import Flow
from phi3flow.flows.column_mapping import map_inputs
from phi3flow.flows.line_setting import line_setting
from phi3flow.records.record import Record
from phi3flow.records.runs import Manifest
from phi3flow.runner.options import RunOptions
from phi3flow.runner.plan import PlannedRun, RunPlan
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.jsonl import parse_row
from phi3flow.workers.usage import input_tokens


class RunEstimate(Record):
    """How many lines a run would send, and their tokens as far as they can be known.

    ``based_on`` says how: ``earlier lines``, the mean of those that this run has completed; ``tokenizer``, the texts
    of the inputs counted and every answer as long as it may be, so that tokens out and cost are upper bounds.
    """

    name: str
    total: int
    completed: int
    to_run: int
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost: float | None = None
    based_on: Literal["earlier lines", "tokenizer"] | None = None


def estimate_run(plan: RunPlan) -> RunEstimate:
    """Return the estimate for a run, of which some lines may be done. Raises DatasetError, ColumnMappingError."""
    planned = plan.read()
    earlier = _earlier(plan.runs_dir / planned.manifest.name, planned.manifest)
    completed = earlier.counts.completed if earlier else 0
    total = planned.to_run
    estimate = RunEstimate(
        name=planned.manifest.name, total=total, completed=completed, to_run=max(total - completed, 0)
    )
    tokens = earlier.tokens if earlier else None
    counted = tokens.n_endpoint + tokens.n_tokenizer if tokens else 0
    if tokens and counted:
        share = estimate.to_run / counted
        left = {
            "tokens_in": round(tokens.prompt_tokens * share),
            "tokens_out": round(tokens.completion_tokens * share),
        }
        return _with_cost(estimate.model_copy(update={**left, "based_on": "earlier lines"}), plan.options)
    if plan.options.tokenizer is None:
        return estimate
    return _with_cost(_counted(estimate, plan.flow, planned, plan.options.tokenizer), plan.options)


def _counted(estimate: RunEstimate, flow: Flow, planned: PlannedRun, tokenizer: Path) -> RunEstimate:
    from phi3flow.datasets.tokens import tokenizer_counter

    count = tokenizer_counter(tokenizer)
    tokens_in, tokens_out = 0, 0.0
    for line in planned.lines:
        try:
            inputs = map_inputs(
                planned.mapping, {"data": parse_row(line.row)}, flow.inputs, optional=flow.optional_inputs
            )
        except ConfigError:  # the line will fail and send nothing
            continue
        tokens_in += input_tokens(inputs, count)
        most = line_setting(flow, inputs, "max_new_tokens", "max_tokens")
        tokens_out = tokens_out + most if most is not None else float("nan")
    share = estimate.to_run / planned.lines.total
    left = {
        "tokens_in": round(tokens_in * share),
        "tokens_out": None if math.isnan(tokens_out) else round(tokens_out * share),
    }
    return estimate.model_copy(update={**left, "based_on": "tokenizer"})


def _with_cost(estimate: RunEstimate, options: RunOptions) -> RunEstimate:
    prices, tokens_in, tokens_out = options.prices, estimate.tokens_in, estimate.tokens_out
    if prices is None or tokens_in is None or tokens_out is None:
        return estimate
    cost = (tokens_in * prices.tokens_in + tokens_out * prices.tokens_out) / 1e6
    return estimate.model_copy(update={"cost": cost})


def _earlier(path: Path, manifest: Manifest) -> Manifest | None:
    if not (path / "manifest.json").is_file():
        return None
    earlier = RunFolder(path).manifest
    same = earlier.flow_fingerprint == manifest.flow_fingerprint and earlier.data_sha256 == manifest.data_sha256
    return earlier if same else None
