"""What measures a run: an evaluation flow, where its inputs come from, and who judges."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from phi3flow.errors import Phi3flowError
from phi3flow.flows import Flow, load_flow
from phi3flow.flows.column_mapping import count_stated, warn_of_samples
from phi3flow.flows.evaluation import complete_evaluation
from phi3flow.records.lines import LineResult
from phi3flow.records.scores import JudgeIdentity, Judging, Ruler
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.given_answers import MADE_BY
from phi3flow.storage.jsonl import Row

_OUTPUTS = "${run.outputs."


def output_names(run: RunFolder, results: Sequence[LineResult], flow: Flow, mapping: Mapping[str, str]) -> list[str]:
    """Return the names of the run's outputs; where no line has any, those that it was to have.

    These are the columns of answers that a file gave, or what the run's flow declares.

    Where the flow is gone too, they are those that the mapping names, and the inputs of ``flow`` that have no other
    column: those that need one, if any does.
    """
    if names := _names(result.outputs or {} for result in results):
        return names
    if run.manifest.parameters.made_by == MADE_BY:
        return list(run.manifest.column_mapping)
    if declared := _declared_outputs(run):
        return declared
    named = [str(value)[len(_OUTPUTS) : -1] for value in mapping.values() if str(value).startswith(_OUTPUTS)]
    columns = {*_names(run.data_rows()), *_names(result.inputs for result in results), *mapping}
    lacking = [name for name in flow.inputs if name not in columns]
    needed = [name for name in lacking if not flow.inputs[name].has_default]
    return list(dict.fromkeys([*named, *needed] or lacking))


def complete_columns(
    mapping: Mapping[str, str],
    *,
    run: RunFolder,
    flow: Flow,
    outputs: Sequence[str],
    results: Sequence[LineResult],
    rows: Sequence[Row],
) -> dict[str, Any]:
    """Return the mapping of the flow's inputs over the run, complete. Raises ColumnMappingError."""
    where = f"{flow.folder} over run {run.name}"
    complete = complete_evaluation(
        flow,
        {"run.outputs": outputs, "data": _names(rows), "run.inputs": _names(result.inputs for result in results)},
        where=where,
        mapping=mapping,
        own_history=run.manifest.parameters.history == "own",
    )
    if not any(declared.is_sample for declared in flow.inputs.values()):
        return complete
    answered = [result for result in results if result.status == "Completed"]
    stated = {
        "run.outputs": _stated(result.outputs or {} for result in answered),
        "data": _stated(rows[result.line_number] for result in answered),
        "run.inputs": _stated(result.inputs for result in answered),
    }
    warn_of_samples(complete, inputs=flow.inputs, stated=stated, lines=len(answered), where=where)
    return complete


def describe_ruler(flow: Flow, mapping: Mapping[str, Any], outputs: Sequence[str], judging: Judging | None) -> Ruler:
    """Return what measured a run whose outputs have these names."""
    return Ruler(
        flow=str(flow.path),
        flow_fingerprint=flow.fingerprint,
        column_mapping={name: str(value) for name, value in mapping.items()},
        run_outputs=sorted(outputs),
        judge=_identify(flow, judging) if judging else None,
    )


def _identify(flow: Flow, judging: Judging) -> JudgeIdentity | None:
    """Return who judged; a judge that does not say it is known by what took the place of the flow's own settings."""
    overrides = ", ".join(f"{key}={value}" for key, value in sorted(flow.overrides.items()))
    model = judging.model or overrides or None
    if not (judging.connections or model or judging.package or judging.prompts):
        return None
    is_judge = judging.model or judging.package or judging.prompts  # another flow may ask the model that is scored
    serves = tuple(use.serves for use in judging.connections if use.serves) if is_judge else ()
    return JudgeIdentity(model=model, serves=serves, package=judging.package, prompts=judging.prompts)


def _declared_outputs(run: RunFolder) -> list[str]:
    for folder in (run.path / "snapshot", Path(run.manifest.flow)):
        with contextlib.suppress(Phi3flowError, OSError):
            if names := list(load_flow(folder).definition.get("outputs") or {}):
                return names
    return []


def _stated(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Count the rows in which a column has a value that is not null."""
    stated: dict[str, int] = {}
    for row in rows:
        count_stated(stated, row)
    return stated


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))
