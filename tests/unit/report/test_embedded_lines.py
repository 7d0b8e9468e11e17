"""The lines that a page carries: each once, cut only where all are too large."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.records.lines import LineResult
from phi3flow.report.bounded_texts import SHORTEST_CUT, to_json
from phi3flow.report.embedded_lines import BUDGET_BYTES, embed, rest_of_ids, short_ids
from phi3flow.report.run_view import view_run
from phi3flow.runs.folder import RunFolder
from tests.support.folders.run_folders import line, run_of_kinds, write_run


@pytest.mark.parametrize(
    ("inputs", "outputs", "question", "answer"),
    [
        ({"question": "q", "style": "s"}, {"answer": "a", "usage": {}}, "q", "a"),
        ({"input_data": "q"}, {"output": "a"}, "q", "a"),
        ({"text": "q", "language": "en"}, {"a": 1, "b": 2}, "text: q\nlanguage: en", '{"a": 1, "b": 2}'),
        ({"numbers": [1]}, {"answer": None}, '{"numbers": [1]}', "null"),
    ],
)
def test_any_flows_lines_are_shown(
    tmp_path: Path, inputs: dict[str, object], outputs: dict[str, object], question: str, answer: str
) -> None:
    result = LineResult(line_number=0, line_id="x", status="Completed", inputs=inputs, outputs=outputs, latency_ms=1.0)
    data = embed([view_run(write_run(tmp_path / "run", [result]))])
    assert data["lines"]["question"] == [question]
    assert data["runs"][0]["answer"] == [answer]


def test_lines_of_all_runs_are_embedded_once(tmp_path: Path) -> None:
    first = write_run(tmp_path / "first", [line(0, "a"), line(1, None)])
    second = write_run(tmp_path / "second", [line(1, "b"), line(2, "c")], rows=[{}] * 3)
    data = embed([view_run(first), view_run(second)])
    assert data["lines"]["number"] == [0, 1, 2]
    assert [run["answer"] for run in data["runs"]] == [["a", None, None], [None, "b", "c"]]
    assert data["runs"][0]["error"] == [None, ["EndpointError", "the endpoint answered 503", 503], None]


def test_texts_are_cut_only_where_all_together_are_too_large(tmp_path: Path) -> None:
    small = embed([view_run(write_run(tmp_path / "small", [line(0, "x" * 20_000)]))])
    assert small["text_limit"] == 20_000
    assert small["runs"][0]["answer"] == ["x" * 20_000]
    large = embed([view_run(write_run(tmp_path / "large", [line(n, "é" * 5_000) for n in range(1_000)]))])
    limit = large["text_limit"]
    assert SHORTEST_CUT < limit < 5_000
    assert large["runs"][0]["answer"][0] == ["é" * limit, 5_000 - limit]
    assert 0.95 * BUDGET_BYTES < len(to_json(large).encode()) < 1.01 * BUDGET_BYTES


def test_no_text_is_cut_below_the_shortest_cut(tmp_path: Path) -> None:
    turns = [{"inputs": {"question": "é" * 150}}] * 30_000
    data = embed([view_run(write_run(tmp_path / "run", [line(0, "a", chat_history=turns)]))])
    assert data["text_limit"] == SHORTEST_CUT


def test_ids_are_shortened_only_while_they_differ() -> None:
    hashes = [hashlib.sha256(bytes([n])).hexdigest() for n in range(3)]
    assert short_ids([*hashes, f"{hashes[0]}#2", "own"]) == [*(h[:12] for h in hashes), f"{hashes[0][:12]}#2", "own"]
    twins = ["0" * 63 + "1", "0" * 63 + "2"]
    assert short_ids(twins) == twins


@given(st.text(st.characters(), max_size=40))
def test_embedded_json_cannot_end_its_element(text: str) -> None:
    written = to_json([text, "</script>\u2028\ud800"])
    assert not set("<>&\u2028\u2029") & set(written)
    assert json.loads(written)[0] == text
    written.encode()


def test_slices_of_the_lines_are_embedded_by_their_place(tmp_path: Path) -> None:
    data = embed([view_run(run_of_kinds(tmp_path / "run", [0.1, 0.2, 0.3]))], by=["kind"])
    assert data["slices"] == [{"column": "kind", "values": ["a", "b"], "of": [0, 1, 0]}]


def test_only_shared_conversations_are_numbered(tmp_path: Path) -> None:
    names = ["x", None, "y", "x", 7, 7]
    rows = [{} if name is None else {"conversation_id": name} for name in names]
    run = write_run(tmp_path / "run", [line(n, "a") for n in range(6)], rows=rows)
    assert embed([view_run(run)])["lines"]["conversation"] == [0, None, None, 0, 1, 1]


def test_an_id_and_its_rest_make_the_whole(tmp_path: Path) -> None:
    ids = ["0" * 12 + "a" * 52, "1" * 64 + "#2", "own"]
    assert rest_of_ids(ids) == ["a" * 52, "1" * 52, ""]
    assert short_ids(ids) == ["0" * 12, "1" * 12 + "#2", "own"]


def test_every_repeat_of_a_conversation_is_one_of_its_own(repeated: RunFolder) -> None:
    assert embed([view_run(repeated)])["lines"]["conversation"] == [0, 0, 1, 1, 2, 2]


def test_texts_of_evaluations_are_embedded_and_cut_like_all_others(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [line(0, "a"), line(1, "b")], scores={"q": {"f1": [0.5, 0.5]}})
    scores = run.scores("q")
    scores[1] = scores[1].model_copy(update={"texts": {"reason": "<b>" + "x" * 20_000}})
    run.write_scores("q", scores, run.metrics("q"))
    assert embed([view_run(run)])["runs"][0]["texts"] == {"q.reason": [None, ["<b>" + "x" * 19_997, 3]]}
