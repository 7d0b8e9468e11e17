"""``phi3flow prepare-data --dataset FOLDER``: the splits that a folder has."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from phi3flow.datasets import read_chats
from phi3flow.datasets.chat import questions
from phi3flow.storage.jsonl import write_rows
from tests.support.command_line import Done, phi3flow

QUESTIONS = {"train": range(0, 20), "validation": range(20, 24), "test": range(24, 30)}


def rows_of(split: str) -> list[dict[str, Any]]:
    return [{"question": f"question {number}", "answer": f"{number}.", "topic": split} for number in QUESTIONS[split]]


def plain(folder: Path) -> None:
    for split in QUESTIONS:
        write_rows(folder / f"{split}.jsonl", rows_of(split))


def shards(folder: Path) -> None:
    (folder / "data").mkdir()
    for split in QUESTIONS:
        for number, part in enumerate((rows_of(split)[:3], rows_of(split)[3:])):
            pandas.DataFrame(part).to_parquet(folder / "data" / f"{split}-{number:05d}-of-00002.parquet")


def named_in_the_readme(folder: Path) -> None:
    for split, stem in (("train", "a"), ("validation", "b"), ("test", "c")):
        write_rows(folder / f"{stem}.jsonl", rows_of(split))
    entries = "".join(
        f"\n  - split: {split}\n    path: {stem}.jsonl"
        for split, stem in (("train", "a"), ("dev", "b"), ("test_sft", "c"))
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:{entries}\n---\n")


def shards_of_longer_names(folder: Path) -> None:
    for split in QUESTIONS:
        rows = pandas.DataFrame(rows_of(split))
        (folder / "data").mkdir(exist_ok=True)
        rows.to_parquet(folder / "data" / f"auxiliary_{split}-00000-of-00001.parquet")


def folders_and_other_names(folder: Path) -> None:
    for split, name in (("train", "training"), ("validation", "dev"), ("test", "test")):
        (folder / name).mkdir()
        pandas.DataFrame(rows_of(split)).to_csv(folder / name / "rows.csv", index=False)


def several_formats(folder: Path) -> None:
    write_rows(folder / "train.jsonl", rows_of("train"))
    pandas.DataFrame(rows_of("validation")).to_csv(folder / "validation.csv", index=False)
    pandas.DataFrame(rows_of("test")).to_parquet(folder / "test.parquet")


def saved_to_disk(folder: Path) -> None:
    import datasets

    datasets.DatasetDict({split: datasets.Dataset.from_list(rows_of(split)) for split in QUESTIONS}).save_to_disk(
        folder
    )


def capitals(folder: Path) -> None:
    write_rows(folder / "Train.jsonl", rows_of("train"))
    pandas.DataFrame(rows_of("validation")).to_csv(folder / "my-VAL.CSV", index=False)
    (folder / "Test").mkdir()
    write_rows(folder / "Test" / "rows 1.jsonl", rows_of("test"))


def prepare(folder: Path, *arguments: object) -> Done:
    return phi3flow("prepare-data", "--dataset", folder.name, "--out", "out", *arguments, cwd=folder.parent)


def asked(folder: Path) -> dict[str, set[str]]:
    out = folder.parent / "out"
    return {split: {questions(row)[0] for row in read_chats(out / f"{split}.jsonl")} for split in QUESTIONS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    return tmp_path / "set"


@pytest.mark.parametrize(
    "make",
    [
        plain,
        shards,
        shards_of_longer_names,
        named_in_the_readme,
        folders_and_other_names,
        several_formats,
        saved_to_disk,
        capitals,
    ],
)
def test_a_folder_keeps_its_own_splits(folder: Path, make: Callable[[Path], None]) -> None:
    make(folder)
    done = prepare(folder)
    assert done.returncode == 0, done.stderr
    assert asked(folder) == {split: {row["question"] for row in rows_of(split)} for split in QUESTIONS}
    done = prepare(folder, "--ratios", "60/20/20")
    assert done.returncode == 2
    assert re.search(r"--ratios: set has its own \w*train,", done.stderr)


def test_a_split_that_is_missing_is_drawn_from_train(folder: Path) -> None:
    plain(folder)
    (folder / "validation.jsonl").unlink()
    done = prepare(folder, "--ratios", "75/25/40")
    assert done.returncode == 0, done.stderr
    splits = asked(folder)
    assert splits["test"] == {row["question"] for row in rows_of("test")}
    assert splits["train"] | splits["validation"] == {row["question"] for row in rows_of("train")}
    assert (len(splits["train"]), len(splits["validation"])) == (15, 5)


def test_a_single_file_of_any_name_is_split(folder: Path) -> None:
    write_rows(folder / "all.jsonl", rows_of("train"))
    assert prepare(folder).returncode == 0
    assert [len(split) for split in asked(folder).values()] == [16, 2, 2]


def test_a_dataset_saved_without_splits_is_split(folder: Path) -> None:
    import datasets

    datasets.Dataset.from_list(rows_of("train")).save_to_disk(folder)
    assert prepare(folder).returncode == 0
    assert [len(split) for split in asked(folder).values()] == [16, 2, 2]


@pytest.mark.parametrize("name", ["test.jsonl", "Eval.jsonl", "dev/rows.jsonl", "support-test-cases.jsonl"])
def test_a_test_set_is_never_trained_on_for_want_of_another(folder: Path, name: str) -> None:
    (folder / "dev").mkdir()
    write_rows(folder / name, rows_of("train"))
    write_rows(folder / "support.jsonl", rows_of("test"))
    done = prepare(folder)
    assert done.returncode == 2
    assert f"and none to train on; to split some of them: --input set/{name}" in done.stderr
    assert not (folder.parent / "out").exists()


def test_a_readme_that_names_a_test_set_alone_is_no_train(folder: Path) -> None:
    write_rows(folder / "a.jsonl", rows_of("train"))
    entry = "\n  - split: test\n    path: a.jsonl"
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:{entry}\n---\n")
    done = prepare(folder)
    assert (done.returncode, "none to train on: take one by --split" in done.stderr) == (2, True)
    assert prepare(folder, "--split", "test").returncode == 0


def test_files_whose_names_say_no_split_are_named_beside_one_that_does(folder: Path) -> None:
    for name in ("train_questions", "contest", "latest"):
        write_rows(folder / f"{name}.jsonl", rows_of("train"))
    done = prepare(folder)
    assert done.returncode == 0, done.stderr
    assert "left out, being neither train, validation nor test: contest.jsonl, latest.jsonl" in done.stderr


def test_a_name_of_two_splits_is_refused(folder: Path) -> None:
    write_rows(folder / "train-and-test.jsonl", rows_of("train"))
    done = prepare(folder)
    assert (done.returncode, "train-and-test may be train or test: rename it" in done.stderr) == (2, True)


def test_what_prepare_data_wrote_is_a_dataset_again(folder: Path) -> None:
    plain(folder)
    assert prepare(folder).returncode == 0
    before = asked(folder)
    done = phi3flow("prepare-data", "--dataset", "out", "--out", "again", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    for split in QUESTIONS:
        assert {questions(row)[0] for row in read_chats(folder.parent / "again" / f"{split}.jsonl")} == before[split]


def test_splits_that_leak_are_refused_and_can_be_pooled(folder: Path) -> None:
    """The flag to type names the splits that there are."""
    plain(folder)
    (folder / "validation.jsonl").unlink()
    write_rows(
        folder / "test.jsonl", [*rows_of("test"), {"question": "Question 3?", "answer": "x"}, rows_of("train")[5]]
    )
    done = prepare(folder)
    assert done.returncode == 2
    assert "also stands in" in done.stderr
    assert "(and 1 more); to split them anew, pool them: " in done.stderr
    assert not (folder.parent / "out").exists()
    flags = done.stderr.split("pool them: ")[1].split()
    source = () if "--input" in flags else ("--dataset", folder.name)
    done = phi3flow("prepare-data", *source, *flags, "--out", "out", cwd=folder.parent)
    assert done.returncode == 0, done.stderr


def test_a_conversation_in_two_splits_is_a_leak_whatever_is_asked_in_it(folder: Path) -> None:
    for split in QUESTIONS:
        write_rows(folder / f"{split}.jsonl", [row | {"conversation_id": n} for n, row in enumerate(rows_of(split))])
    done = prepare(folder)
    assert (done.returncode, "conversation 0 also stands in" in done.stderr) == (2, True)


def test_two_splits_that_may_be_train_are_named(folder: Path) -> None:
    stems = ("train_sft", "train_gen", "test_sft")
    for stem in stems:
        write_rows(folder / f"{stem}.jsonl", rows_of(stem.split("_")[0]))
    entries = "".join(f"\n  - split: {stem}\n    path: {stem}.jsonl" for stem in stems)
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:{entries}\n---\n")
    done = prepare(folder)
    assert done.returncode == 2
    assert "train_sft and train_gen may both be train; take one by --split" in done.stderr
    assert prepare(folder, "--split", "train_sft").returncode == 0


def test_a_split_that_is_none_of_ours_is_left_out_and_said(folder: Path) -> None:
    plain(folder)
    write_rows(folder / "extra.jsonl", rows_of("train"))
    entries = "".join(f"\n  - split: {name}\n    path: {name}.jsonl" for name in (*QUESTIONS, "extra"))
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  data_files:{entries}\n---\n")
    done = prepare(folder)
    assert done.returncode == 0, done.stderr
    assert "set: left out, being neither train, validation nor test: extra" in done.stderr
