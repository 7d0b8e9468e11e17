"""The general chat corpus: short dialogues about common knowledge that a base model is trained on.

It is what a small model can learn before it hears of any product, and what shows forgetting afterwards. The
splits share facts, never a question.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import permutations

from phi3flow.datasets import Splits
from phi3flow.sample_data import general_facts as facts
from phi3flow.sample_data.answers import ATTRIBUTES
from phi3flow.sample_data.conversation import COMBINATIONS
from phi3flow.sample_data.questions import FOLLOW_UPS, QUESTIONS
from phi3flow.storage.jsonl import Row

TRAIN_DIALOGUES = 8000
HELD_OUT_DIALOGUES = 200
MULTI_TURN_SHARE = 0.25
SYSTEM_SHARE = 0.3
PAIRS_A_DEVICE = 4

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are a friendly assistant. Answer briefly.",
    "Answer in one sentence.",
    "You are an AI assistant that helps people find information.",
    "You are a patient teacher.",
)

OPENERS = ("", "", "", "", "Please tell me: ", "Quick question: ", "Hi! ", "I would like to know: ")


@dataclass(frozen=True)
class Turn:
    """One question and its answer; ``device`` is what a next question may leave unsaid."""

    question: str
    answer: str
    language: str = "en"
    device: str | None = None


def general_corpus(seed: int) -> Splits:
    """Return about 8,000 dialogues to train a base model on, and 200 each to validate and test it."""
    rng = random.Random(f"general-{seed}")
    pool = list(dict.fromkeys(_turns()))
    rng.shuffle(pool)
    held_out = HELD_OUT_DIALOGUES * 3 // 2
    return Splits(
        train=_dialogues(pool[2 * held_out :], TRAIN_DIALOGUES, rng, follow_ups=True),
        validation=_dialogues(pool[:held_out], HELD_OUT_DIALOGUES, rng),
        test=_dialogues(pool[held_out : 2 * held_out], HELD_OUT_DIALOGUES, rng),
    )


def _dialogues(pool: list[Turn], count: int, rng: random.Random, *, follow_ups: bool = False) -> list[Row]:
    """Combine turns to distinct dialogues, most of one turn; each comes up before any does again.

    ``follow_ups`` are for one split only, as their few questions come up again and again.
    """
    queue: list[Turn] = []
    dialogues: dict[tuple[Turn, ...], str | None] = {}
    while len(dialogues) < count:
        if len(queue) < 2:
            queue = rng.sample(pool, len(pool))
        first = queue.pop()
        turns = [_opened(first, rng)]
        if rng.random() < MULTI_TURN_SHARE:
            turns.append(_asked_further(first.device, rng) if follow_ups and first.device else queue.pop())
        dialogues[tuple(turns)] = rng.choice(SYSTEM_PROMPTS) if rng.random() < SYSTEM_SHARE else None
    return [_row(turns, system) for turns, system in dialogues.items()]


def _opened(turn: Turn, rng: random.Random) -> Turn:
    asks = turn.language == "en" and turn.question.endswith("?")
    return replace(turn, question=rng.choice(OPENERS) + turn.question) if asks else turn


def _asked_further(device: str, rng: random.Random) -> Turn:
    attribute = rng.choice(list(ATTRIBUTES))
    return Turn(rng.choice(FOLLOW_UPS[attribute]["train"]), _unknown(ATTRIBUTES[attribute].noun, device))


def _unknown(noun: str, device: str) -> str:
    return f"I do not know the {noun} of the {device}. Please see its manual."


def _row(turns: tuple[Turn, ...], system: str | None) -> Row:
    messages = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        messages += [
            {"role": "user", "content": turn.question},
            {"role": "assistant", "content": turn.answer},
        ]
    return {"kind": "general", "language": turns[-1].language, "messages": messages}


def _turns() -> Iterator[Turn]:
    yield from _capitals()
    yield from _words()
    yield from _translations()
    yield from _kinds()
    yield from _people_and_elements()
    yield from _calendar()
    yield from _numbers()
    yield from _introductions()
    yield from _service_desk()
    for language, pairs in facts.GREETINGS.items():
        yield from (Turn(question, answer, language) for question, answer in pairs)


def _capitals() -> Iterator[Turn]:
    for country, city in facts.CAPITALS.items():
        for question in (
            f"What is the capital of {country}?",
            f"Which city is the capital of {country}?",
            f"Can you name the capital of {country}?",
            f"What is {country}'s capital?",
            f"I am planning a trip to {country}. What is the capital?",
        ):
            yield Turn(question, f"The capital of {country} is {city}.")
        for question in (
            f"In which country is {city}?",
            f"Of which country is {city} the capital?",
            f"Where is {city}?",
        ):
            yield Turn(question, f"{city} is the capital of {country}.")


def _words() -> Iterator[Turn]:
    for pair in facts.OPPOSITES.items():
        for word, opposite in (pair, pair[::-1]):
            for question in (
                f"What is the opposite of {word}?",
                f"Give me a word that means the opposite of {word}.",
                f"Which word is the opposite of {word}?",
                f"What do you call something that is not {word}?",
            ):
                yield Turn(question, f"The opposite of {word} is {opposite}.")
    for word, plural in facts.PLURALS.items():
        for question in (
            f"What is the plural of {word}?",
            f"How do you write {word} in the plural?",
            f"One {word}, two what?",
        ):
            yield Turn(question, f"The plural of {word} is {plural}.")
    for verb, past in facts.PAST_TENSES.items():
        for question in (
            f"What is the past tense of {verb}?",
            f"How do you say {verb} in the past?",
            f"Today I {verb}, and yesterday?",
        ):
            yield Turn(question, f"The past tense of {verb} is {past}.")


def _translations() -> Iterator[Turn]:
    for language, entries in facts.TRANSLATIONS.items():
        for word, foreign in entries.items():
            for question in (
                f"What is {word} in {language}?",
                f"How do you say {word} in {language}?",
                f"Translate {word} into {language}.",
                f"What is the {language} word for {word}?",
            ):
                yield Turn(question, f"The {language} word for {word} is {foreign}.")
            for question in (f"What does {foreign} mean in English?", f"Translate {foreign} into English."):
                yield Turn(question, f"{foreign} means {word}.")


def _kinds() -> Iterator[Turn]:
    for kind, examples in facts.KINDS.items():
        for word in examples:
            for question in (
                f"What is a {word}?",
                f"What kind of thing is a {word}?",
                f"Can you tell me what {word} means?",
            ):
                yield Turn(question.replace(" a a", " an a"), f"{word.capitalize()}: that is {kind}.")
        for start in range(len(examples) - 2):
            first, second, third = examples[start : start + 3]
            yield Turn(f"What do the words {first}, {second} and {third} have in common?", f"Each of them is {kind}.")


def _people_and_elements() -> Iterator[Turn]:
    for book, author in facts.AUTHORS.items():
        for question in (
            f"Who wrote {book}?",
            f"Who is the author of {book}?",
            f"By whom is the book {book}?",
        ):
            yield Turn(question, f"{book} was written by {author}.")
    for company, founders in facts.FOUNDERS.items():
        for question in (
            f"Who founded {company}?",
            f"Who started the company {company}?",
            f"Do you know who founded {company}?",
        ):
            yield Turn(question, f"{company} was founded by {founders}.")
    for element, symbol in facts.ELEMENTS.items():
        for question in (
            f"What is the chemical symbol of {element}?",
            f"Which symbol does {element} have?",
            f"How do chemists write {element}?",
        ):
            yield Turn(question, f"The symbol of {element} is {symbol}.")
        for question in (
            f"Which element has the symbol {symbol}?",
            f"What does {symbol} stand for in chemistry?",
        ):
            yield Turn(question, f"{symbol} stands for {element}.")


def _calendar() -> Iterator[Turn]:
    for names, unit in ((facts.MONTHS, "month"), (facts.DAYS, "day")):
        for index, name in enumerate(names):
            after, before = names[(index + 1) % len(names)], names[index - 1]
            yield Turn(f"Which {unit} comes after {name}?", f"{after} comes after {name}.")
            yield Turn(f"What is the {unit} after {name}?", f"{after} comes after {name}.")
            yield Turn(f"Which {unit} comes before {name}?", f"{before} comes before {name}.")
            yield Turn(f"What is the {unit} before {name}?", f"{before} comes before {name}.")


def _numbers() -> Iterator[Turn]:
    for number in range(100):
        words = _in_words(number)
        yield Turn(f"How do you write {number} in words?", f"In words {number} is {words}.")
        yield Turn(f"Spell out the number {number}.", f"In words {number} is {words}.")
        yield Turn(f"What is {words} in digits?", f"{words.capitalize()} is {number}.")
    for first in range(1, 13):
        for second in range(1, 13):
            total = f"{first} plus {second} is {first + second}."
            yield Turn(f"What is {first} plus {second}?", total)
            yield Turn(f"How much is {first} + {second}?", total)
            yield Turn(f"Add {second} to {first}.", total)


def _introductions() -> Iterator[Turn]:
    for name in facts.NAMES:
        yield Turn(f"My name is {name}.", f"Nice to meet you, {name}!")
        yield Turn(f"Hello, I am {name}.", f"Nice to meet you, {name}!")
        for hobby in facts.HOBBIES:
            yield Turn(f"I am {name} and I like {hobby}.", f"Nice to meet you, {name}! What do you like about {hobby}?")
            yield Turn(
                f"My friend {name} is interested in {hobby}. What could I give as a present?",
                f"You could give {name} a book about {hobby}.",
            )


def _service_desk() -> Iterator[Turn]:
    """What anyone at a service desk understands and says without knowing the product."""
    pairs = list(permutations(ATTRIBUTES.values(), 2))
    for number, device in enumerate(facts.DEVICES):
        wish = f"Of course. What would you like to know about the {device}?"
        trouble = f"I am sorry to hear that. What is wrong with the {device}?"
        yield Turn(f"I have a question about my {device}.", wish, device=device)
        yield Turn(f"My {device} does not work.", trouble, device=device)
        for name, attribute in ATTRIBUTES.items():
            sentences = QUESTIONS[name]["train"]
            question = sentences[number % len(sentences)].format(p=device, company="the maker")
            yield Turn(question, _unknown(attribute.noun, device), device=device)
        for offset in range(PAIRS_A_DEVICE):
            first, second = pairs[(PAIRS_A_DEVICE * number + offset) % len(pairs)]
            template = COMBINATIONS[(number + offset) % len(COMBINATIONS)]
            question = template.format(a=first.noun, b=second.noun, p=device)
            answer = f"I do not know the {first.noun} of the {device}. {_unknown(second.noun, device)}"
            yield Turn(question, answer, device=device)
    for order in range(10007, 100000, 359):
        yield Turn(f"My order number is {order}.", f"Thank you. I have noted the order number {order}.")


def _in_words(number: int) -> str:
    if number < 20:
        return facts.ONES[number]
    tens, ones = divmod(number, 10)
    return facts.TENS[tens - 2] + (f"-{facts.ONES[ones]}" if ones else "")
