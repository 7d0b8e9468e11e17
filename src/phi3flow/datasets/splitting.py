"""Deduplicate conversations and split them, so that nothing of one split stands in another.

Two notions of sameness, on purpose. A duplicate is removed, so it must be one: only case, width, white space and
sentence marks may differ. A leak is kept apart, which costs nothing, so there more counts as the same.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from phi3flow.datasets.chat import conversation_id, first_question, questions
from phi3flow.errors import DatasetError, LeakageError
from phi3flow.storage.jsonl import Row
from phi3flow.text import shorten

SPLITS = ("train", "validation", "test")
TIED_SHARE = 0.1

_SENTENCE_MARKS = re.compile(r"""[.,;:!?…"'”’»。、]+(?=\s|$)|(?<!\S)["'“‘«„¿¡]+""")
_APOSTROPHES = re.compile("['’]")
_WORDS = re.compile(r"[^\W_]+")
_ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Splits:
    """Chat rows by split; a conversation stands in one of them only."""

    train: list[Row]
    validation: list[Row]
    test: list[Row]

    def items(self) -> list[tuple[str, list[Row]]]:
        """Return (name, rows) of each split."""
        return [("train", self.train), ("validation", self.validation), ("test", self.test)]


@dataclass(frozen=True)
class Deduplicated:
    """The conversations that are left, and how many were removed as exact or as normalised duplicates."""

    rows: list[Row]
    exact: int
    normalised: int


def normalise(text: str) -> str:
    """Return the text without what does not change its meaning: case, width (NFKC), white space, sentence marks."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_SENTENCE_MARKS.sub(" ", folded).split())


def question_key(question: str) -> str:
    """Return what counts as the same question across splits: its words, without articles, marks and symbols.

    Two different questions may share a key (C++ and C#): they go to one split, no harm done.
    """
    folded = unicodedata.normalize("NFKC", question).casefold()
    words = [word for word in _WORDS.findall(_APOSTROPHES.sub("", folded)) if word not in _ARTICLES]
    return " ".join(words) or folded.strip()


def deduplicate(rows: Iterable[Row]) -> Deduplicated:
    """Keep the first of each conversation, comparing roles and contents; other keys have no say."""
    exact: set[bytes] = set()
    normalised: set[bytes] = set()
    kept = []
    removed: Counter[str] = Counter()
    for row in rows:
        contents = [(message["role"], message["content"]) for message in row["messages"]]
        as_written = _digest(contents)
        as_meant = _digest([(role, normalise(content) or content) for role, content in contents])
        if as_written in exact:
            removed["exact"] += 1
        elif as_meant in normalised:
            removed["normalised"] += 1
        else:
            kept.append(row)
        exact.add(as_written)
        normalised.add(as_meant)
    return Deduplicated(kept, removed["exact"], removed["normalised"])


def split_conversations(rows: Sequence[Row], *, ratios: Sequence[float], seed: int) -> Splits:
    """Split by conversation in the given ratios (train, validation, test), the same for the same seed.

    Conversations that are tied go to one split. The order of ``rows`` has no say in who goes where. Raises DatasetError
    where a split with a ratio would stay empty.
    """
    targets = _targets(len(rows), ratios)
    order = _seeded_order(rows, seed)
    groups = sorted(tied_conversations(rows, seed=seed), key=len, reverse=True)
    members: list[list[int]] = [[], [], []]
    for group in groups:
        room = [target - len(chosen) for target, chosen in zip(targets, members, strict=True)]
        members[room.index(max(room))] += group
    for name, target, chosen in zip(SPLITS, targets, members, strict=True):
        if target and not chosen:
            first, count = Counter(first_question(row) for row in rows).most_common(1)[0]
            begins = f" ({count:,} of them begin with {shorten(first)!r})" if count > 1 else ""
            raise DatasetError(
                f"nothing is left for {name}: {len(rows)} conversations fall into {len(groups)} groups that share "
                f"questions and must not be parted{begins}; add conversations, or give this split the ratio 0"
            )
    train, validation, test = ([rows[index] for index in sorted(chosen, key=order.__getitem__)] for chosen in members)
    return Splits(train, validation, test)


def tied_conversations(rows: Sequence[Row], *, seed: int) -> list[list[int]]:
    """Return the row numbers that one split must hold together, the groups in an order that seed and content decide.

    Conversations that share a question are tied. Where that would tie more than TIED_SHARE of them together (everybody
    says "thank you"), only first questions tie, wherever else they stand: else one split would get all long
    conversations.
    """
    groups = _groups(rows, first_only=False)
    if max(map(len, groups)) > max(1, TIED_SHARE * len(rows)):
        groups = _groups(rows, first_only=True)
    order = _seeded_order(rows, seed)
    return sorted(groups, key=lambda group: min(order[index] for index in group))


def shared_questions(splits: Splits) -> set[str]:
    """Return the keys of questions of test that also stand in train or validation, as later turns in both.

    Raises LeakageError where the first question of a held-out conversation stands in another split: as every
    conversation begins with its first question, no conversation can then be shared either; and where two splits have
    conversations of one name, which are parts of one.
    """
    keys = {
        name: {question_key(question) for row in rows for question in questions(row)} for name, rows in splits.items()
    }
    names = {name: {conversation_id(row) for row in rows} - {None} for name, rows in splits.items()}
    leaks: dict[tuple[str, str], str] = {}
    for name, rows in splits.items():
        for other, row in itertools.product(SPLITS, rows):
            question, conversation = first_question(row), conversation_id(row)
            if other != name and question_key(question) in keys[other]:
                text = f"the {name} question {shorten(question)!r} also stands in {other}"
                leaks.setdefault(("question", question_key(question)), text)
            elif other != name and conversation in names[other]:
                text = f"the {name} conversation {shorten(str(conversation))} also stands in {other}"
                leaks.setdefault(("conversation", str(conversation)), text)
    if leaks:
        more = f" (and {len(leaks) - 1:,} more)" if len(leaks) > 1 else ""
        raise LeakageError(f"leakage: {next(iter(leaks.values()))}{more}")
    return keys["test"] & (keys["train"] | keys["validation"])


def _targets(count: int, ratios: Sequence[float]) -> list[int]:
    """Return how many conversations each split should get: at least one where its ratio is not 0."""
    total = sum(ratios)
    held_out = [max(1, round(count * ratio / total)) if ratio else 0 for ratio in ratios[1:]]
    if count - sum(held_out) < 1:
        raise DatasetError(f"{count} conversations are too few to split: add some, or set a ratio to 0")
    return [count - sum(held_out), *held_out]


def _groups(rows: Sequence[Row], *, first_only: bool) -> list[list[int]]:
    """Return the row numbers that must stay together: one conversation's, and those that share a question.

    With ``first_only``, a shared question ties only where it is the first of one of them.
    """
    keys = [[question_key(question) for question in questions(row)] for row in rows]
    firsts = {question_key(first_question(row)) for row in rows}
    parents = list(range(len(rows)))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    owners: dict[Hashable, int] = {}
    for index, (row, own) in enumerate(zip(rows, keys, strict=True)):
        ties: list[Hashable] = [key for key in own if not first_only or key in firsts]
        if (name := conversation_id(row)) is not None:
            ties.append(("conversation", name))
        for tie in ties:
            parents[root(index)] = root(owners.setdefault(tie, index))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for index in range(len(rows)):
        groups[root(index)].append(index)
    return list(groups.values())


def _seeded_order(rows: Sequence[Row], seed: int) -> list[bytes]:
    return [_digest([seed, row["messages"]]) for row in rows]


def _digest(value: object) -> bytes:
    return hashlib.sha256(json.dumps(value, ensure_ascii=False, sort_keys=True).encode()).digest()
