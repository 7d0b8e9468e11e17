"""What the nodes of traced lines were given and gave, as the page carries it where there is room beside the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, TypedDict

from phi3flow.records.traces import LineTrace, NodeTrace
from phi3flow.report.bounded_texts import SHORTEST_CUT, Cut, Text, cutter, size, text_limit
from phi3flow.report.run_view import RunView


class Step(TypedDict):
    """A node of a line: what it was given, what it sent to a model and was answered, and what it gave or raised."""

    node: str
    ms: float
    error: Text | None
    texts: list[list[Text]]


RunTraces = dict[str, list[Step]]
"""The steps of a run's traced lines, by the line's index."""


def embed_traces(runs: Sequence[RunView], line_ids: Sequence[str], budget: int) -> tuple[list[RunTraces], int]:
    """Return the traces of each run, and of how many lines they were left out.

    Where they pass ``budget`` bytes with texts of 100 characters, those of lines that failed are kept; where these
    do, none is.
    """
    every = [_indexed(run, line_ids, failed_only=False) for run in runs]
    failed = [_indexed(run, line_ids, failed_only=True) for run in runs]
    for chosen in (every, failed):
        if (cut := _fitting(chosen, budget)) is not None:
            left_out = sum(map(len, every)) - sum(map(len, chosen))
            return [_steps(traces, cut) for traces in chosen], left_out
    return [{} for _ in runs], sum(map(len, every))


def _indexed(run: RunView, line_ids: Sequence[str], *, failed_only: bool) -> dict[int, LineTrace]:
    lines = ((index, run.results.get(line_id)) for index, line_id in enumerate(line_ids))
    return {
        index: trace
        for index, line in lines
        if line and (line.error or not failed_only) and (trace := run.traces.get(line.line_number))
    }


def _fitting(runs: Sequence[dict[int, LineTrace]], budget: int) -> Cut | None:
    room = budget - size([_steps(traces, lambda _: "") for traces in runs])
    carried = [text for traces in runs for trace in traces.values() for text in _texts(trace)]
    limit = text_limit(carried, room)
    fits = limit > SHORTEST_CUT or sum(min(len(text), limit) for text in carried) <= room
    return cutter(limit) if fits and room >= 0 else None


def _texts(trace: LineTrace) -> Iterator[str]:
    for node in trace.nodes:
        yield from (text for _, text in _labelled(node))
        yield node.error or ""


def _steps(traces: dict[int, LineTrace], cut: Cut) -> RunTraces:
    return {
        str(index): [
            {
                "node": node.node,
                "ms": node.duration_ms,
                "error": cut(node.error) if node.error else None,
                "texts": [[label, cut(text)] for label, text in _labelled(node)],
            }
            for node in trace.nodes
        ]
        for index, trace in traces.items()
    }


def _labelled(node: NodeTrace) -> Iterator[tuple[str, str]]:
    yield "Given", _shown(node.inputs)
    for call in node.calls:
        yield "Sent to the model", _shown(call.request)
        yield "The model's answer", _shown(call.answer)
    if node.error is None:
        yield "Gave", _shown(node.output)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
