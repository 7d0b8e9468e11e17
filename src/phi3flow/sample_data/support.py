"""The support dialogues: what customers of a made-up maker ask, split so that the test was never read before.

Every fact is asked in several phrasings in train. The test asks the same facts in phrasings that stand nowhere
else, two at a time in pairs that stand nowhere else, and in conversations that name the product only once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from phi3flow.datasets import Splits, normalise
from phi3flow.sample_data import conversation
from phi3flow.sample_data.answers import ATTRIBUTES
from phi3flow.sample_data.catalog import COMPANY, PRODUCTS, Fact, draw_facts
from phi3flow.sample_data.languages import LANGUAGES, ForeignAttribute
from phi3flow.sample_data.questions import FOLLOW_UPS, QUESTIONS, Split
from phi3flow.storage.jsonl import Row

SYSTEM_SHARE = 0.3
"""Share of the dialogues of several turns or facts that a system message opens (the kind ``system`` always has one)."""


@dataclass(frozen=True)
class Counts:
    """How many dialogues of each kind a split has; ``pairs``: two-attribute questions for each product,
    ``foreign``: questions in each other language."""

    single: int
    pairs: int
    follow_up: int
    other_product: int
    unnamed: int
    small_talk: int
    thanks: int
    system: int
    foreign: int


COUNTS: dict[Split, Counts] = {
    "train": Counts(380, 12, 220, other_product=48, unnamed=80, small_talk=48, thanks=16, system=300, foreign=40),
    "validation": Counts(96, 2, 20, other_product=5, unnamed=8, small_talk=3, thanks=4, system=16, foreign=4),
    "test": Counts(124, 2, 24, other_product=6, unnamed=9, small_talk=4, thanks=3, system=22, foreign=6),
}


@dataclass(frozen=True)
class Turn:
    """One question, its answer, and the values that a right answer must contain."""

    question: str
    answer: str
    values: tuple[str, ...] = ()


def support_corpus(seed: int) -> Splits:
    """Return the support dialogues of one seed: facts, questions and order all follow from it."""
    facts = draw_facts(seed)
    return Splits(
        train=_Writer(facts, "train", seed).rows(),
        validation=_Writer(facts, "validation", seed).rows(),
        test=_Writer(facts, "test", seed).rows(),
    )


class _Writer:
    """Writes one split's dialogues; no two of them ask a named product the same question."""

    def __init__(self, facts: dict[tuple[str, str], Fact], split: Split, seed: int) -> None:
        self.facts = facts
        self.split = split
        self.seed = seed
        self.rng = random.Random(f"support-{split}-{seed}")
        self.asked: set[str] = set()

    def rows(self) -> list[Row]:
        counts = COUNTS[self.split]
        rows = [
            *self._dialogues(counts.single, "paraphrase", lambda fact: [self._turn(fact)]),
            *self._combinations(),
            *self._dialogues(counts.follow_up, "multi_turn", self._follow_ups),
            *self._dialogues(counts.other_product, "multi_turn", self._other_product),
            *self._dialogues(counts.unnamed, "multi_turn", self._unnamed),
            *self._dialogues(counts.small_talk, "multi_turn", self._small_talk),
            *self._dialogues(counts.thanks, "multi_turn", self._thanks),
            *self._dialogues(counts.system, "system", lambda fact: [self._turn(fact)]),
            *self._foreign(),
        ]
        self.rng.shuffle(rows)
        return [{"conversation_id": f"{self.split}-{number:04d}", **row} for number, row in enumerate(rows, start=1)]

    def _dialogues(self, count: int, kind: str, turns_about: Callable[[Fact], list[Turn]]) -> list[Row]:
        """``count`` dialogues, each about another fact until all have had their turn."""
        facts: list[Fact] = []
        while len(facts) < count:
            facts += self.rng.sample(list(self.facts.values()), len(self.facts))
        return [_row(turns_about(fact), kind, system=self._system(kind)) for fact in facts[:count]]

    def _combinations(self) -> list[Row]:
        """Two attributes of a product at once; the splits share a product's pairs of attributes out among them."""
        pairs = random.Random(f"support-pairs-{self.seed}")
        ends = {split: sum(c.pairs for c in list(COUNTS.values())[: n + 1]) for n, split in enumerate(COUNTS)}
        end = ends[self.split]
        rows = []
        for product in PRODUCTS:
            shuffled = pairs.sample(list(combinations(ATTRIBUTES, 2)), max(ends.values()))
            for names in shuffled[end - COUNTS[self.split].pairs : end]:
                first, second = (self.facts[product, name] for name in self.rng.sample(names, 2))
                rows.append(_row([self._joined(first, second)], "combination", system=self._system("combination")))
        return rows

    def _joined(self, first: Fact, second: Fact) -> Turn:
        nouns = {"a": ATTRIBUTES[first.attribute].noun, "b": ATTRIBUTES[second.attribute].noun}
        question = self._opened(self.rng.choice(conversation.COMBINATIONS).format(p=first.product, **nouns))
        answer = f"{_answer(first)} {_answer(second)}"
        return Turn(question, _courtesy(question) + answer, (first.value, second.value))

    def _follow_ups(self, fact: Fact) -> list[Turn]:
        """One or two more questions that leave the product to the first."""
        more = self.rng.sample([name for name in ATTRIBUTES if name != fact.attribute], self.rng.choice((1, 1, 2)))
        return [self._turn(fact), *(self._follow_up(self.facts[fact.product, name]) for name in more)]

    def _other_product(self, fact: Fact) -> list[Turn]:
        """A second question about another product."""
        other = self.rng.choice([f for f in self.facts.values() if f.product != fact.product])
        also = self.rng.choice(conversation.ALSO[self.split])
        return [self._turn(fact), self._turn(other, opener=also)]

    def _unnamed(self, fact: Fact) -> list[Turn]:
        """A customer who names the product only when asked."""
        noun = ATTRIBUTES[fact.attribute].noun
        question = self._opened(self.rng.choice(conversation.UNNAMED[self.split]).format(a=noun))
        named = self.rng.choice(conversation.NAMED[self.split]).format(p=fact.product)
        return [
            Turn(question, _courtesy(question) + conversation.WHICH_PRODUCT),
            Turn(named, _answer(fact), (fact.value,)),
        ]

    def _small_talk(self, fact: Fact) -> list[Turn]:
        """One or two turns about nothing in particular come first."""
        chat = self.rng.sample(conversation.SMALL_TALK[self.split], self.rng.choice((1, 2)))
        return [*(Turn(question, answer) for question, answer in chat), self._turn(fact)]

    def _thanks(self, fact: Fact) -> list[Turn]:
        thanks = self.rng.choice(conversation.THANKS[self.split]).format(p=fact.product)
        return [self._turn(fact), Turn(thanks, conversation.WELCOME.format(p=fact.product))]

    def _foreign(self) -> list[Row]:
        """Each language asks about few facts: four products for each of its attributes."""
        chosen = random.Random(f"support-languages-{self.seed}")
        rows = []
        for language, attributes in LANGUAGES.items():
            turns = [
                _translated(self.facts[product, name], sentences, question)
                for name, sentences in attributes.items()
                for product in chosen.sample(PRODUCTS, 4)
                for question in sentences.questions[self.split]
            ]
            sample = self.rng.sample(turns, COUNTS[self.split].foreign)
            rows += [_row([turn], "language", language=language) for turn in sample]
        return rows

    def _turn(self, fact: Fact, *, opener: str | None = None) -> Turn:
        """A question that names the product, in words that this split has not used for it yet."""
        question = self._question(fact, opener)
        while normalise(question) in self.asked:
            question = self._question(fact, opener)
        self.asked.add(normalise(question))
        return Turn(question, _courtesy(question) + _answer(fact), (fact.value,))

    def _question(self, fact: Fact, opener: str | None) -> str:
        sentence = self.rng.choice(QUESTIONS[fact.attribute][self.split])
        return self._opened(sentence.format(p=fact.product, company=COMPANY), opener)

    def _follow_up(self, fact: Fact) -> Turn:
        question = self.rng.choice(FOLLOW_UPS[fact.attribute][self.split])
        return Turn(question, _courtesy(question) + _answer(fact), (fact.value,))

    def _opened(self, question: str, opener: str | None = None) -> str:
        opener = self.rng.choice(conversation.OPENERS[self.split]) if opener is None else opener
        if opener.endswith((", ", ": ")) and not question.startswith("I "):
            question = question[0].lower() + question[1:]
        return opener + question

    def _system(self, kind: str) -> str | None:
        if kind == "paraphrase" or (kind != "system" and self.rng.random() >= SYSTEM_SHARE):
            return None
        return self.rng.choice(conversation.SYSTEM_PROMPTS).format(company=COMPANY)


def _courtesy(question: str) -> str:
    """Support says sorry where something is wrong, and greets back who greets."""
    if any(trouble in question for trouble in conversation.TROUBLES):
        return conversation.SYMPATHY
    return conversation.GREETING_BACK if question.startswith(conversation.GREETINGS) else ""


def _answer(fact: Fact) -> str:
    sentence = ATTRIBUTES[fact.attribute].answers[fact.variant]
    return sentence.format(p=fact.product, v=fact.value)


def _translated(fact: Fact, sentences: ForeignAttribute, question: str) -> Turn:
    """The fact in another language, with the product's first name only."""
    name = fact.product.split()[0]
    value = fact.value.split()[0] + sentences.unit
    return Turn(question.format(p=name), sentences.answer.format(p=name, v=value), (value,))


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
