"""``phi3flow prepare-data``, run as a user runs it."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas
import pytest

from phi3flow.datasets import question_key, read_chats
from phi3flow.datasets.chat import questions
from phi3flow.runs.conversations import cluster_labels
from phi3flow.storage.jsonl import file_sha256, read_rows, write_rows
from tests.support.command_line import Done, phi3flow

FILES = {"train.jsonl", "validation.jsonl", "test.jsonl", "test_lines.jsonl", "data_card.json"}


def prepare_data(*arguments: object, cwd: Path) -> Done:
    return phi3flow("prepare-data", *arguments, cwd=cwd)


def card_of(done: Done) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def chat(question: str, answer: str = "An answer.", **others: object) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": messages, **others}


def ultrachat_row(number: int) -> dict[str, Any]:
    """A row as in HuggingFaceH4/ultrachat_200k: two turns, the prompt repeated beside them."""
    turns = [f"Tell me about subject {number}.", f"Subject {number} is old.", f"And how old is {number}?", "Very."]
    roles = ("user", "assistant")
    messages = [{"content": text, "role": roles[i % 2]} for i, text in enumerate(turns)]
    return {"prompt": turns[0], "prompt_id": f"{number:064x}", "messages": messages}


@pytest.fixture
def ultrachat(tmp_path: Path) -> Path:
    """A local dataset in the layout of the hub's: parquet files under data/, named by split."""
    folder = tmp_path / "ultrachat_200k"
    (folder / "data").mkdir(parents=True)
    for split, numbers in (("train_sft", range(400)), ("test_sft", range(400, 420))):
        frame = pandas.DataFrame([ultrachat_row(number) for number in numbers])
        frame.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def test_a_slice_of_a_hugging_face_dataset_is_split_by_conversation(ultrachat: Path, tmp_path: Path) -> None:
    flags = ("--dataset", ultrachat, "--config", "default", "--split", "train_sft[:25%]", "--out", "out", "--json")
    card = card_of(prepare_data(*flags, cwd=tmp_path))
    assert {name: split["conversations"] for name, split in card["splits"].items()} == {
        "train": 80,
        "validation": 10,
        "test": 10,
    }
    assert card["source"] == {"dataset": str(ultrachat), "config": "default", "split": "train_sft[:25%]"}
    assert {"phi3flow", "datasets", "pyarrow"} == set(card["versions"])
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    for name, facts in card["files"].items():
        assert facts["sha256"] == file_sha256(tmp_path / "out" / name)
    test = read_chats(tmp_path / "out" / "test.jsonl")
    assert set(test[0]) == {"prompt", "prompt_id", "messages"}
    lines = [row for _, row in read_rows(tmp_path / "out" / "test_lines.jsonl")]
    assert len(lines) == 20
    assert {line["conversation_id"] for line in lines} == {row["prompt_id"] for row in test}


def test_another_split_last_turns_and_ratios_of_the_documents(ultrachat: Path, tmp_path: Path) -> None:
    flags = ("--dataset", ultrachat, "--split", "test_sft", "--out", "out", "--json")
    card = card_of(prepare_data(*flags, "--last-turn-only", cwd=tmp_path))
    assert card["files"]["test_lines.jsonl"]["rows"] == card["splits"]["test"]["conversations"] == 2
    card = card_of(prepare_data(*flags, "--ratios", "80/20/0", cwd=tmp_path))
    assert [split["conversations"] for split in card["splits"].values()] == [16, 4, 0]
    assert (tmp_path / "out" / "test_lines.jsonl").read_bytes() == b""


@pytest.mark.parametrize("wrong", [("--split", "nothing"), ("--config", "nothing"), ("--dataset", "no/such-thing")])
def test_a_dataset_that_cannot_be_loaded_is_named(ultrachat: Path, tmp_path: Path, wrong: tuple[str, str]) -> None:
    flags = {"--dataset": str(ultrachat), "--split": "train_sft"} | dict([wrong])
    done = prepare_data(*[part for flag in flags.items() for part in flag], cwd=tmp_path)
    assert done.returncode == 2
    assert wrong[1] in done.stderr
    assert "Traceback" not in done.stderr
    assert "--input" in done.stderr


def test_files_of_three_formats_are_one_dataset_without_duplicates(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [chat(f"Question {n}?", topic="x") for n in range(10)] + [chat("Question 1?")])
    with (tmp_path / "b.csv").open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "completion", "topic"])
        writer.writerows([["QUESTION 2", "an answer", "y"], ["With\na line end, and commas", "yes", "y"]])
    rows = [{"messages": json.dumps(chat(f"Parquet {n}?")["messages"])} for n in range(5)]
    pandas.DataFrame(rows).to_parquet(tmp_path / "c.parquet")
    frame = pandas.DataFrame([{"question": "Filled?", "ground_truth": "Yes.", "when": pandas.Timestamp("2026-01-01")}])
    frame.to_parquet(tmp_path / "d.parquet")

    names = ("a.jsonl", "b.csv", "c.parquet", "d.parquet")
    card = card_of(prepare_data("--input", *names, "--out", "out", "--json", cwd=tmp_path))
    assert card["duplicates_removed"] == {"exact": 1, "normalised": 1}
    assert card["source"]["files"] == {name: file_sha256(tmp_path / name) for name in names}
    kept = [row for split in card["splits"] for row in read_chats(tmp_path / "out" / f"{split}.jsonl")]
    asked = {questions(row)[0]: row for row in kept}
    assert len(kept) == 10 + 1 + 5 + 1
    assert asked["With\na line end, and commas"]["topic"] == "y"
    assert asked["Filled?"]["when"].startswith("2026-01-01")


def test_the_same_command_writes_the_same_bytes_and_a_seed_another_split(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [chat(f"Question {n}?") for n in range(50)])
    for out, seed in (("one", 3), ("two", 3), ("three", 4)):
        card_of(prepare_data("--input", "a.jsonl", "--seed", seed, "--out", out, "--json", cwd=tmp_path))
    written = {out: {p.name: p.read_bytes() for p in (tmp_path / out).iterdir()} for out in ("one", "two", "three")}
    assert written["one"] == written["two"]
    assert written["one"]["test.jsonl"] != written["three"]["test.jsonl"]


def test_questions_that_several_conversations_share_stay_in_one_split(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [chat(f"Question {n // 2}?", f"Answer {n}.") for n in range(60)])
    card_of(prepare_data("--input", "a.jsonl", "--out", "out", "--json", cwd=tmp_path))
    keys = [
        {question_key(q) for row in read_chats(tmp_path / "out" / f"{name}.jsonl") for q in questions(row)}
        for name in ("train", "validation", "test")
    ]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 30


def test_every_malformed_row_is_listed_and_nothing_is_written(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [chat("fine"), {"messages": []}, {"text": "no chat"}])
    (tmp_path / "b.csv").write_text('question,answer\nq,""\n"two\nlines",a\nq2\n')
    (tmp_path / "c.csv").write_text("messages\nnot json\n")
    done = prepare_data("--input", "a.jsonl", "b.csv", "c.csv", "--out", "out", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "a.jsonl: 2 rows read as chats: messages[].role/content",
        "b.csv: 2 rows read as pairs: question = question, answer = answer",
        "phi3flow: error: 5 breaches of the chat format:",
        "a.jsonl:2: messages must be a list of messages: []",
        "a.jsonl:3: the row has no shape that is known: the columns are text; say which are meant: --columns "
        "question=text answer=NAME",
        "b.csv:2: message 2: content must be a string: missing",
        "b.csv:5: 1 cell where the header has 2 columns: q2",
        "c.csv:2: messages is not JSON: not json",
        "--skip-malformed leaves such rows out, and counts them",
    ]
    assert not (tmp_path / "out").exists()


def test_malformed_rows_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [chat(f"q {n}") for n in range(10)] + [{"messages": [1, 2]}])
    done = prepare_data("--input", "a.jsonl", "--skip-malformed", "--out", "out", "--json", cwd=tmp_path)
    assert card_of(done)["malformed_skipped"] == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"question;answer\n", "a.txt:1: not JSON"),
        ("a.jsonl", b"", "there is no conversation in the input"),
        ("a.csv", b"question,answer\n\xff,a\n", "a.csv:2: not UTF-8 at byte 0: \\xff,a (save it as UTF-8"),
        ("a.csv", b'question,answer\n"open,a\n', "a.csv:2: not CSV: unexpected end of data"),
        ("a.parquet", b"no parquet", "a.parquet cannot be read as Parquet"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_an_error(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    done = prepare_data("--input", name, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_file_is_named_and_ratios_are_checked(tmp_path: Path) -> None:
    done = prepare_data("--input", "nowhere.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "phi3flow: error: nowhere.jsonl cannot be read: No such file or directory\n",
    )
    for ratios in ("80/20", "a/b/c", "0/1/1", "80/-10/30", "nan/1/1"):
        done = prepare_data("--sample", "--ratios", ratios, cwd=tmp_path)
        assert done.returncode == 2
        assert "is not three numbers such as 80/10/10" in done.stderr


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("row", ['{"question":"q","answer":"a","n":%s}', '{"question":"q","answer":%s}'])
def test_what_is_no_finite_number_is_refused_with_its_place(tmp_path: Path, number: str, row: str) -> None:
    rows = ['{"question":"p","answer":"a","n":1e308}', row % number]
    (tmp_path / "a.jsonl").write_text("\n".join(rows))
    done = prepare_data("--input", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert f"a.jsonl:2: not JSON ({number} is" in done.stderr
    assert not (tmp_path / "data").exists()


def test_an_infinite_number_of_a_table_is_refused_and_a_missing_one_is_null(tmp_path: Path) -> None:
    rows = [
        {"question": f"q {n}", "answer": "a", "n": value} for n, value in enumerate((1.0, float("nan"), float("inf")))
    ]
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    done = prepare_data("--input", "a.parquet", cwd=tmp_path)
    assert (done.returncode, "a.parquet:3: n: inf is no JSON number" in done.stderr) == (2, True)


def test_twenty_thousand_bad_rows_are_summed_up(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"text": f"{n}"} for n in range(15_000)] + [chat("q", "") for _ in range(5_000)])
    done = prepare_data("--input", "a.jsonl", cwd=tmp_path)
    lines = done.stderr.splitlines()
    assert (done.returncode, len(lines)) == (2, 1 + 1 + 20 + 3 + 1)
    assert lines[1:3] == [
        "phi3flow: error: 20,000 breaches of the chat format:",
        "a.jsonl:1: the row has no shape that is known: the columns are text; say which are meant: --columns "
        "question=text answer=NAME",
    ]
    assert lines[-4:-1] == [
        "… and 19,980 more; in all",
        "15,000 times: the row has no shape that is known, first in a.jsonl:1",
        "5,000 times: content is empty, first in a.jsonl:15001",
    ]


def test_the_shape_of_each_file_is_said_and_kept_in_the_card(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"query": f"q {n}", "response": n} for n in range(10)])
    turns = [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]
    write_rows(tmp_path / "b.jsonl", [{"conversations": turns}, chat("z")])
    done = prepare_data("--input", "a.jsonl", "b.jsonl", "--json", cwd=tmp_path)
    assert done.stderr.splitlines() == [
        "a.jsonl: 10 rows read as pairs: question = query, answer = response",
        "b.jsonl: 1 row read as ShareGPT: conversations[].from/value",
        "b.jsonl: 1 row read as chats: messages[].role/content",
    ]
    assert card_of(done)["read_as"]["a.jsonl"] == {"pairs: question = query, answer = response": 10}


def test_columns_are_named_by_a_flag(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [{"frage": f"q {n}", "data": {"antwort": [1.5]}, "thema": "x"} for n in range(10)])
    refused = prepare_data("--input", "a.jsonl", cwd=tmp_path)
    assert refused.returncode == 2
    assert "a.jsonl:1: the row has no shape that is known: the columns are frage, data.antwort, thema" in refused.stderr
    flags = ("--columns", "question=frage", "answer=data.antwort.0")
    card_of(prepare_data("--input", "a.jsonl", *flags, "--json", cwd=tmp_path))
    row = read_chats(tmp_path / "data" / "train.jsonl")[0]
    assert row["messages"][1]["content"] == "1.5"
    assert row["thema"] == "x"
    for wrong, said in (
        ("reply=x", "NAME one of question, answer, system, messages, conversation_id"),
        ("question", "is not key=value"),
    ):
        done = prepare_data("--input", "a.jsonl", "--columns", wrong, cwd=tmp_path)
        assert (done.returncode, said in done.stderr) == (2, True)
    done = prepare_data("--sample", "--columns", "question=x", cwd=tmp_path)
    assert (done.returncode, "--columns does not go with --sample" in done.stderr) == (2, True)


@pytest.mark.parametrize(
    ("column", "flags"),
    [
        *((name, ()) for name in ("Conversation_ID", "conversationId", "conversation-id", "Conversation ID")),
        *((name, ()) for name in ("session_id", "threadId", "dialogue_id", "Dialog-ID", "chat_id", "conv_id")),
        ("ticket", ("--columns", "conversation_id=ticket")),
    ],
)
def test_a_conversation_stays_together_whatever_its_column_is_called(tmp_path: Path, column: str, flags: Any) -> None:
    rows = [{"question": f"q {n}", "answer": f"a {n}", column: n // 3} for n in range(120)]
    write_rows(tmp_path / "a.jsonl", rows)
    done = prepare_data("--input", "a.jsonl", *flags, cwd=tmp_path)
    assert f"answer = answer, conversation = {column}" in done.stderr
    chats = {split: read_chats(tmp_path / "data" / f"{split}.jsonl") for split in ("train", "validation", "test")}
    names = [{row[column] for row in split} for split in chats.values()]
    assert sum(map(len, names)) == len(set[int]().union(*names)) == 40
    lines = [row for _, row in read_rows(tmp_path / "data" / "test_lines.jsonl")]
    assert {line["conversation_id"] for line in lines} == {str(row[column]) for row in chats["test"]}
    assert len(set(cluster_labels(lines))) == len(names[2])


def test_a_rows_own_columns_stand_in_the_test_lines_and_a_clash_is_said(tmp_path: Path) -> None:
    own = {"context": "The kettle costs 39.", "category": "price", "level": 2}
    rows = [{"question": f"q {n}", "answer": "a", **own, "values": "x"} for n in range(10)]
    write_rows(tmp_path / "a.jsonl", rows)
    done = prepare_data("--input", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    ((_, line),) = read_rows(tmp_path / "data" / "test_lines.jsonl")
    assert own.items() <= line.items()
    assert (line["values"], line["ground_truth"]) == ([], "a")
    assert "the column values is not in 1 test line, which have a values of their own" in done.stdout


def test_files_that_prepare_data_did_not_write_are_replaced_only_when_told(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [chat(f"q {n}") for n in range(10)])
    (tmp_path / "data").mkdir()
    mine = tmp_path / "data" / "train.jsonl"
    mine.write_text("mine\n")
    (tmp_path / "data" / "notes.txt").write_text("mine too")
    done = prepare_data("--input", "a.jsonl", "--out", "data", cwd=tmp_path)
    assert (done.returncode, mine.read_text()) == (2, "mine\n")
    assert "data/train.jsonl is not known to be from prepare-data" in done.stderr
    assert "--overwrite" in done.stderr
    assert len(list((tmp_path / "data").iterdir())) == 2

    card_of(prepare_data("--input", "a.jsonl", "--out", "data", "--overwrite", "--json", cwd=tmp_path))
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine too"
    card_of(prepare_data("--input", "a.jsonl", "--out", "data", "--seed", "1", "--json", cwd=tmp_path))  # its own
    edited = mine.read_bytes() + b"\n"
    mine.write_bytes(edited)
    for source in (("--input", "a.jsonl"), ("--sample",)):
        done = prepare_data(*source, "--out", "data", cwd=tmp_path)
        assert (done.returncode, mine.read_bytes()) == (2, edited)
        assert "data/train.jsonl has changed since prepare-data wrote it" in done.stderr


def test_somebody_elses_data_card_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "data_card.json").write_text('{"name": "mine"}')
    done = prepare_data("--sample", cwd=tmp_path)
    assert (done.returncode, "data/data_card.json is not known to be" in done.stderr) == (2, True)


def test_a_full_disk_leaves_the_old_files(tmp_path: Path) -> None:
    card_of(prepare_data("--sample", "--out", "data", "--json", cwd=tmp_path))
    before = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    command = [sys.executable, "-m", "phi3flow.cli.main", "prepare-data", "--sample", "--seed", "1", "--out", "data"]
    limited = ["bash", "-c", 'ulimit -f 300; exec "$@"', "bash", *command]
    done = subprocess.run(limited, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "data/train.jsonl cannot be written: File too large; what stood there is kept" in done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()} == before


def test_the_sample_says_what_was_written(tmp_path: Path) -> None:
    done = prepare_data("--sample", "general", "--out", "out", cwd=tmp_path)
    assert done.returncode == 0
    assert "8000" in done.stdout
    assert "no question of test stands in train or validation" in done.stdout
    assert len(read_chats(tmp_path / "out" / "test.jsonl")) == 200


def test_rows_with_the_turns_before_them_are_trained_and_asked_with_these_and_weight_0_is_no_truth(
    tmp_path: Path,
) -> None:
    earlier = [[{"inputs": {"question": f"Which {n}?"}, "outputs": {"answer": "The blue one."}}] for n in range(20)]
    rows = [
        {"question": f"Question {n}?", "chat_history": earlier[n], "answer": f"Answer {n}.", "conversation_id": n}
        for n in range(20)
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = prepare_data("--input", "a.jsonl", "--ratios", "1/1/1", "--out", "out", "--json", cwd=tmp_path)
    card = card_of(done)
    assert "answer = answer, turns before it = chat_history" in done.stderr
    for _, line in read_rows(tmp_path / "out" / "test_lines.jsonl"):
        number = int(line["conversation_id"])
        assert (line["chat_history"], line["ground_truth"]) == (earlier[number], f"Answer {number}.")
    assert card["test_answers_not_learnt"] == card["files"]["test_lines.jsonl"]["rows"] > 0
    text = prepare_data("--input", "a.jsonl", "--ratios", "1/1/1", "--out", "out", cwd=tmp_path).stdout
    assert "of weight 0 in test: history, and no test line" in " ".join(text.split())
