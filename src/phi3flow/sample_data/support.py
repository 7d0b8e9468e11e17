"""The support dialogues: what customers of a made-up maker ask, split so that the test is not read before.

Every fact is asked in several phrasings in train. The test asks the same facts in phrasings that stand nowhere
else, two at a time in pairs that stand nowhere else, and in conversations that name the product only once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from phi3flow.datasets import Splits
from phi3flow.jsonl import Row
from phi3flow.sample_data import phrasings
from phi3flow.sample_data.catalog import COMPANY, PRODUCTS, Fact, draw_facts
from phi3flow.sample_data.languages import LANGUAGES
from phi3flow.sample_data.phrasings import ATTRIBUTES


@dataclass(frozen=True)
class Counts:
    """How many dialogues of each kind a split has; ``pairs`` = two-attribute questions for each product."""

    single: int
    pairs: int
    follow_up: int
    unnamed: int
    thanks: int
    system: int
    foreign: int


COUNTS = {
    "train": Counts(single=780, pairs=8, follow_up=180, unnamed=40, thanks=24, system=96, foreign=96),
    "validation": Counts(single=96, pairs=2, follow_up=30, unnamed=7, thanks=3, system=16, foreign=16),
    "test": Counts(single=126, pairs=2, follow_up=32, unnamed=8, thanks=4, system=22, foreign=24),
}


@dataclass(frozen=True)
class Turn:
    """One question, its answer, and the values that a right answer must contain."""

    question: str
    answer: str
    values: tuple[str, ...]


def support_corpus(seed: int) -> Splits:
    """Return the support dialogues of one seed: facts, questions and order all follow from it."""
    facts = draw_facts(seed)
    return Splits(**{split: _Writer(facts, split, seed).rows() for split in COUNTS})


class _Writer:
    """Writes one split's dialogues."""

    def __init__(self, facts: dict[tuple[str, str], Fact], split: str, seed: int) -> None:
        self.facts = facts
        self.split = split
        self.counts = COUNTS[split]
        self.rng = random.Random(f"support-{split}-{seed}")
        self.shared = random.Random(f"support-shared-{seed}")

    def rows(self) -> list[Row]:
        dialogues = [
            *self._singles(self.counts.single, "paraphrase"),
            *self._pairs(),
            *self._follow_ups(),
            *self._unnamed(),
            *self._thanks(),
            *self._singles(self.counts.system, "system"),
            *self._foreign(),
        ]
        self.rng.shuffle(dialogues)
        return [
            {"conversation_id": f"{self.split}-{number:04d}", **row} for number, row in enumerate(dialogues, start=1)
        ]

    def _singles(self, count: int, kind: str) -> list[Row]:
        system = kind == "system"
        rows = []
        for fact in self._facts(count):
            turn = Turn(self._question(fact), _answer(fact), (fact.value,))
            rows.append(_row([turn], kind, system=self._system() if system else None))
        return rows

    def _pairs(self) -> list[Row]:
        """Two attributes of a product at once; the pairs of attributes are divided among the splits."""
        shares = [COUNTS[split].pairs for split in COUNTS]
        start = sum(shares[: list(COUNTS).index(self.split)])
        rows = []
        for product in PRODUCTS:
            pairs = self.shared.sample(list(combinations(ATTRIBUTES, 2)), sum(shares))
            for names in pairs[start : start + self.counts.pairs]:
                first, second = (self.facts[product, name] for name in self.rng.sample(names, 2))
                question = self.rng.choice(phrasings.COMBINATIONS).format(
                    a=ATTRIBUTES[first.attribute].noun, b=ATTRIBUTES[second.attribute].noun, p=product
                )
                answer = f"For the {product}, {_clause(first)} and {_clause(second)}."
                turn = Turn(self._opened(question), answer, (first.value, second.value))
                rows.append(_row([turn], "combination"))
        return rows

    def _follow_ups(self) -> list[Row]:
        """A second question that leaves the product to the first."""
        rows = []
        for fact in self._facts(self.counts.follow_up):
            second = self._other(fact)
            turns = [
                Turn(self._question(fact), _answer(fact), (fact.value,)),
                Turn(self._follow_up(second), _answer(second), (second.value,)),
            ]
            rows.append(_row(turns, "multi_turn"))
        return rows

    def _unnamed(self) -> list[Row]:
        """A customer who does not say at once what it is about."""
        rows = []
        for fact in self._facts(self.counts.unnamed):
            opening = self.rng.choice(getattr_split(phrasings.UNNAMED, self.split)).format(company=COMPANY)
            turns = [
                Turn(opening, self.rng.choice(phrasings.WHICH_PRODUCT), ()),
                Turn(self._question(fact), _answer(fact), (fact.value,)),
            ]
            rows.append(_row(turns, "multi_turn"))
        return rows

    def _thanks(self) -> list[Row]:
        rows = []
        for fact in self._facts(self.counts.thanks):
            thanks = self.rng.choice(phrasings.THANKS[self.split]).format(p=fact.product)
            turns = [
                Turn(self._question(fact), _answer(fact), (fact.value,)),
                Turn(thanks, phrasings.WELCOME.format(p=fact.product), ()),
            ]
            rows.append(_row(turns, "multi_turn"))
        return rows

    def _foreign(self) -> list[Row]:
        """Each language asks about few facts: three products for each of its attributes."""
        cells = [
            (language, name, product)
            for language, attributes in LANGUAGES.items()
            for name in attributes
            for product in self.shared.sample(PRODUCTS, 4)
        ]
        questions = [
            (language, name, product, question)
            for language, name, product in cells
            for question in getattr(LANGUAGES[language][name], self.split)
        ]
        self.rng.shuffle(questions)
        rows = []
        for language, name, product, question in questions[: self.counts.foreign]:
            sentences = LANGUAGES[language][name]
            value = self.facts[product, name].value.split()[0] + sentences.unit
            turn = Turn(question.format(p=product), sentences.answer.format(p=product, v=value), (value,))
            rows.append(_row([turn], "language", language=language))
        return rows

    def _facts(self, count: int) -> list[Fact]:
        """Return ``count`` facts in random order, each as often as any other (give or take one)."""
        facts: list[Fact] = []
        while len(facts) < count:
            facts += self.rng.sample(list(self.facts.values()), len(self.facts))
        return facts[:count]

    def _other(self, fact: Fact) -> Fact:
        names = [name for name in ATTRIBUTES if name != fact.attribute]
        return self.facts[fact.product, self.rng.choice(names)]

    def _question(self, fact: Fact) -> str:
        sentences: Sequence[str] = getattr(ATTRIBUTES[fact.attribute], self.split)
        return self._opened(self.rng.choice(sentences).format(p=fact.product, company=COMPANY))

    def _follow_up(self, fact: Fact) -> str:
        sentences: Sequence[str] = getattr(ATTRIBUTES[fact.attribute], f"{self.split}_follow_up")
        return self.rng.choice(sentences)

    def _opened(self, question: str) -> str:
        opener = self.rng.choice(phrasings.OPENERS[self.split])
        if opener.endswith((", ", ": ")) and not question.startswith(("I ", "I'm ")):
            question = question[0].lower() + question[1:]
        return opener + question

    def _system(self) -> str:
        return self.rng.choice(phrasings.SYSTEM_PROMPTS).format(company=COMPANY)


def getattr_split(table: dict[str, tuple[str, ...]], split: str) -> tuple[str, ...]:
    return table[split]


def _answer(fact: Fact) -> str:
    sentence = ATTRIBUTES[fact.attribute].answers[fact.variant]
    return sentence.format(p=fact.product, v=fact.value, company=COMPANY)


def _clause(fact: Fact) -> str:
    return ATTRIBUTES[fact.attribute].clause.format(v=fact.value)


def _row(turns: Sequence[Turn], kind: str, *, system: str | None = None, language: str = "en") -> Row:
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages += [
            {"role": "user", "content": turn.question},
            {"role": "assistant", "content": turn.answer},
        ]
    return {
        "kind": kind,
        "language": language,
        "messages": messages,
        "values": [list(turn.values) for turn in turns],
    }
