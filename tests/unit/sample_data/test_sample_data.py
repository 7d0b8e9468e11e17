"""The sample data: reproducible, apart by split, answerable from train, and not to be guessed."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from phi3flow.datasets import Splits, evaluation_lines, question_key
from phi3flow.datasets.chat import breaches, questions
from phi3flow.datasets.preparation import Output
from phi3flow.datasets.splitting import deduplicate
from phi3flow.sample_data import general_corpus, support_corpus, write_sample
from tests.support.paths import ROOT

DATA = ROOT / "data"
SEEDS = (0, 1, 2)


@pytest.fixture(scope="module", params=SEEDS)
def seed(request: pytest.FixtureRequest) -> int:
    return request.param


@pytest.fixture(scope="module")
def support(seed: int) -> Splits:
    return support_corpus(seed)


@pytest.fixture(scope="module")
def general(seed: int) -> Splits:
    return general_corpus(seed)


def _keys(rows: list[dict]) -> set[str]:
    return {question_key(question) for row in rows for question in questions(row)}


def test_the_files_in_data_are_what_the_generator_writes(tmp_path: Path) -> None:
    write_sample(Output(folder=tmp_path), seed=0)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_bytes() for path in DATA.iterdir() if path.name != "README.md"}
    assert written == kept


def test_another_seed_gives_other_facts_and_the_same_seed_the_same() -> None:
    assert support_corpus(1) == support_corpus(1)
    facts = [{(row["messages"][-1]["content"]) for row in support_corpus(seed).train} for seed in (0, 1)]
    assert len(facts[0] & facts[1]) < 0.05 * len(facts[0])
    assert general_corpus(1) == general_corpus(1) != general_corpus(0)


def test_every_row_is_a_chat_and_none_comes_twice(support: Splits, general: Splits) -> None:
    for splits in (support, general):
        rows = [row for _, held in splits.items() for row in held]
        assert not [reason for row in rows for reason in breaches(row)]
        assert len(deduplicate(rows).rows) == len(rows)


def test_no_question_of_a_split_stands_in_another(support: Splits, general: Splits) -> None:
    for splits in (support, general):
        train, validation, test = (_keys(held) for _, held in splits.items())
        assert not test & (train | validation)
        assert not train & validation


def test_the_splits_have_the_promised_sizes_and_shares(support: Splits) -> None:
    assert [len(held) for _, held in support.items()] == [1540, 216, 264]
    for _, held in support.items():
        assert sum(len(questions(row)) > 1 for row in held) >= 0.15 * len(held)
        kinds = Counter(row["kind"] for row in held)
        assert set(kinds) == {"paraphrase", "combination", "multi_turn", "system", "language"}
        assert kinds["paraphrase"] >= kinds["combination"]
        assert {row["language"] for row in held} == {"en", "de", "es", "ko", "zh"}
    assert [len(held) for _, held in general_corpus(0).items()] == [8000, 200, 200]


def test_every_value_stands_in_its_answer_and_not_in_what_was_asked(support: Splits) -> None:
    for line in evaluation_lines([row for _, held in support.items() for row in held]):
        for value in line["values"]:
            assert value in line["ground_truth"]
            assert value not in line["question"] + line["context"]


def test_every_fact_of_the_test_is_stated_in_train_in_several_phrasings(support: Splits) -> None:
    asked: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for line in evaluation_lines(support.train):
        for value in line["values"]:
            asked[_product(line), value].add(line["question"])
    needed = {(_product(line), value) for line in evaluation_lines(support.test) for value in line["values"]}
    assert min(len(asked[fact]) for fact in needed) >= 2
    assert sum(map(len, asked.values())) / len(asked) > 6


def test_two_facts_at_once_are_asked_in_pairs_that_train_does_not_join(support: Splits) -> None:
    pairs = {
        name: {
            (_product(line), *sorted(line["values"]))
            for line in evaluation_lines(held)
            if line["kind"] == "combination"
        }
        for name, held in support.items()
    }
    assert len(pairs["test"]) == 48
    assert not pairs["test"] & (pairs["train"] | pairs["validation"])


def test_no_value_is_worth_guessing(support: Splits, general: Splits) -> None:
    lines = [line for line in evaluation_lines(support.test) if line["values"]]
    values = Counter(value for line in lines for value in line["values"])
    assert values.most_common(1)[0][1] < 0.05 * len(lines)
    known = json.dumps(general.train, ensure_ascii=False)
    assert not [value for value in values if f" {value} " in known and not value.isalpha()]


def _product(line: dict) -> str:
    from phi3flow.sample_data.catalog import PRODUCTS

    return next(name for name in PRODUCTS if name.split()[0] in line["ground_truth"])
