"""How customers ask about each attribute and how support answers, kept apart by split.

``{p}`` is the product, ``{v}`` the value. A question of one split never stands in another, so that the test asks
what was never read, about facts that were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Attribute:
    """The sentences about one attribute.

    ``questions`` name the product, ``follow_ups`` leave it to the conversation; each product's manual uses one
    of the three ``answers``. ``noun`` and ``clause`` serve what joins or introduces attributes.
    """

    questions: dict[Split, tuple[str, ...]]
    follow_ups: dict[Split, tuple[str, ...]]
    answers: tuple[str, str, str]
    noun: str
    clause: str


ATTRIBUTES = {
    "battery_life": Attribute(
        questions={
            "train": (
                "How long does the battery of the {p} last?",
                "What is the battery life of the {p}?",
                "How many hours does the {p} run on one charge?",
                "How long can I use my {p} before the battery is empty?",
                "Could you tell me how long the battery lasts in the {p}?",
                "My {p} goes flat quickly. What battery life is normal?",
                "How many hours should a full battery last in the {p}?",
                "I want to take the {p} on a trip. How long does it last on one charge?",
            ),
            "validation": (
                "How many hours of battery life does the {p} have?",
                "How long will my {p} last on a full battery?",
            ),
            "test": (
                "For how many hours should my {p} run on a full battery?",
                "We are away with the {p} this weekend: how long will its battery last?",
                "What battery life can I expect from the {p}?",
            ),
        },
        follow_ups={
            "train": (
                "And how long does the battery last?",
                "How many hours does it run on one charge?",
                "What about its battery life?",
                "How long can I use it before the battery is empty?",
            ),
            "validation": ("And what is the battery life?", "How many hours will the battery last?"),
            "test": (
                "And for how long does it run on a full battery?",
                "Good to know. How long will its battery last?",
            ),
        },
        answers=(
            "The {p} runs for {v} on a full battery.",
            "A full charge lasts {v} in the {p}.",
            "You can use the {p} for {v} before it needs charging.",
        ),
        noun="battery life",
        clause="the battery lasts {v}",
    ),
    "charging_time": Attribute(
        questions={
            "train": (
                "How long does the {p} take to charge?",
                "What is the charging time of the {p}?",
                "How many minutes until my {p} is fully charged?",
                "How long must I leave the {p} on the charger?",
                "My {p} is empty. How long does charging take?",
                "How many minutes of charging does the {p} need?",
                "When will the {p} be full after I plug it in?",
                "How long until the {p} is charged?",
            ),
            "validation": (
                "How many minutes does it take to charge the {p}?",
                "What charging time should I plan for my {p}?",
            ),
            "test": (
                "How long should my {p} stay on the charger until it is full?",
                "I have just plugged in the {p}. How many minutes until it is charged?",
                "What is the usual charging time for the {p}?",
            ),
        },
        follow_ups={
            "train": (
                "And how long does it take to charge?",
                "How many minutes until it is fully charged?",
                "What about the charging time?",
                "How long must it stay on the charger?",
            ),
            "validation": ("And what is its charging time?", "How many minutes of charging does it need?"),
            "test": (
                "And how many minutes does it take to charge fully?",
                "Thanks. How long until it is charged again?",
            ),
        },
        answers=(
            "Charging the {p} takes {v}.",
            "The {p} is full after {v} on the charger.",
            "Please allow {v} to charge the {p} completely.",
        ),
        noun="charging time",
        clause="charging takes {v}",
    ),
    "warranty": Attribute(
        questions={
            "train": (
                "How long is the warranty on the {p}?",
                "What warranty does the {p} come with?",
                "For how many months is my {p} under warranty?",
                "My {p} broke. How long is it covered by the warranty?",
                "How many months of warranty do I get with the {p}?",
                "Is there a warranty on the {p}, and how long is it?",
                "When does the warranty of the {p} end?",
                "How long does {company} repair the {p} under warranty?",
            ),
            "validation": (
                "What is the warranty period of the {p}?",
                "How many months does the warranty on my {p} last?",
            ),
            "test": (
                "For how long does the warranty cover my {p}?",
                "The {p} stopped working. How many months is the warranty?",
                "How long a warranty does {company} give on the {p}?",
            ),
        },
        follow_ups={
            "train": (
                "And how long is the warranty?",
                "How many months of warranty does it have?",
                "What about the warranty?",
                "For how long is it covered by the warranty?",
            ),
            "validation": ("And what is its warranty period?", "How many months is it under warranty?"),
            "test": (
                "And for how many months does the warranty cover it?",
                "I see. How long is its warranty?",
            ),
        },
        answers=(
            "The {p} has a warranty of {v} from the day of purchase.",
            "Your {p} is covered for {v} after you bought it.",
            "{company} gives {v} of warranty on the {p}.",
        ),
        noun="warranty",
        clause="the warranty is {v}",
    ),
    "reset": Attribute(
        questions={
            "train": (
                "How do I reset the {p}?",
                "How long must I hold the button to reset my {p}?",
                "My {p} does not respond. How can I reset it?",
                "What do I have to do to reset the {p} to factory settings?",
                "How many seconds do I press the button for a reset of the {p}?",
                "I want to sell my {p}. How do I reset it first?",
                "Can you explain the factory reset of the {p}?",
                "The {p} has stopped working properly. How can I reset it?",
            ),
            "validation": (
                "How does a factory reset work on the {p}?",
                "For how many seconds must I press to reset the {p}?",
            ),
            "test": (
                "My {p} is frozen, how do I do a factory reset?",
                "How many seconds should I hold the button so that the {p} will reset?",
                "What is the way to reset my {p}?",
            ),
        },
        follow_ups={
            "train": (
                "And how do I reset it?",
                "How long must I hold the button for a reset?",
                "What about a factory reset?",
                "It does not respond. How can I reset it?",
            ),
            "validation": ("And how does the reset work?", "How many seconds do I press for a reset?"),
            "test": (
                "And how many seconds must I hold the button to reset it?",
                "It is frozen now. How do I do a reset?",
            ),
        },
        answers=(
            "To reset the {p}, hold the power button for {v}.",
            "Press and hold the button on the {p} for {v}, then it resets.",
            "Hold the power button for {v} and the {p} goes back to factory settings.",
        ),
        noun="reset procedure",
        clause="you reset it by holding the power button for {v}",
    ),
    "pin": Attribute(
        questions={
            "train": (
                "What is the setup PIN of the {p}?",
                "Which PIN do I enter to set up my {p}?",
                "The app asks me for a PIN for the {p}. What is it?",
                "I lost the card with the PIN of my {p}. Can you help?",
                "Can you give me the default PIN for the {p}?",
                "What PIN does the {p} have when it is new?",
                "My {p} wants a PIN. Which one is it?",
                "I cannot finish the setup of the {p} without a PIN. What is the PIN?",
            ),
            "validation": (
                "Which setup PIN does the {p} use?",
                "The app wants the default PIN of my {p}. What is it?",
            ),
            "test": (
                "Which default PIN belongs to the {p}?",
                "During setup the app asks for the PIN of my {p}. Can you help?",
                "I need the PIN to set up the {p}, what is it?",
            ),
        },
        follow_ups={
            "train": (
                "And what is the setup PIN?",
                "Which PIN do I enter in the app?",
                "What about the PIN?",
                "The app asks for a PIN. Which one is it?",
            ),
            "validation": ("And which PIN does it use?", "What is its default PIN?"),
            "test": (
                "And which PIN do I need to set it up?",
                "Now the app wants a PIN. What is it?",
            ),
        },
        answers=(
            "The setup PIN of the {p} is {v}.",
            "Please enter {v} as the PIN for the {p}.",
            "A new {p} uses the PIN {v}.",
        ),
        noun="setup PIN",
        clause="the setup PIN is {v}",
    ),
    "part_number": Attribute(
        questions={
            "train": (
                "What is the part number of the battery for the {p}?",
                "Which spare battery fits the {p}?",
                "I want to order a new battery for my {p}. Which one do I need?",
                "Which part number do I order for the {p}?",
                "My {p} needs a replacement battery. What is the part number?",
                "Where do I find the part number of a spare battery for the {p}?",
                "Can you tell me which replacement battery the {p} takes?",
                "The battery of my {p} is dead. Which spare part do I order?",
            ),
            "validation": (
                "Which replacement battery do I order for the {p}?",
                "What part number has the spare battery of my {p}?",
            ),
            "test": (
                "I need a spare battery for the {p}, what is its part number?",
                "Which battery do I order as a replacement for my {p}?",
                "Could you look up the part number of the replacement battery for the {p}?",
            ),
        },
        follow_ups={
            "train": (
                "And which spare battery fits it?",
                "What is the part number of the battery?",
                "Which replacement battery do I order?",
                "What about a spare battery?",
            ),
            "validation": ("And what is the part number?", "Which spare part do I order?"),
            "test": (
                "And what is the part number of a spare battery?",
                "Then I need a new one: which replacement battery fits?",
            ),
        },
        answers=(
            "The spare battery for the {p} has the part number {v}.",
            "Please order part {v} for the {p}.",
            "The {p} takes the replacement battery {v}.",
        ),
        noun="battery part number",
        clause="the spare battery has the number {v}",
    ),
    "light": Attribute(
        questions={
            "train": (
                "What colour is the light of the {p} in pairing mode?",
                "How do I know that my {p} is ready to pair?",
                "Which light shows that the {p} is pairing?",
                "What colour does the {p} blink when it is pairing?",
                "Which colour should the light on my {p} have before I pair it?",
                "I am trying to pair the {p}. What colour must the light be?",
                "What does the light of the {p} look like in pairing mode?",
                "How can I see that the {p} is in pairing mode?",
            ),
            "validation": (
                "Which colour does the light of the {p} have while pairing?",
                "What colour tells me that my {p} is ready to pair?",
            ),
            "test": (
                "In pairing mode, what colour is the light on my {p}?",
                "Which colour must the {p} blink so that I can pair it?",
                "What light should I see when the {p} is ready to pair?",
            ),
        },
        follow_ups={
            "train": (
                "And what colour is the light when it is pairing?",
                "How do I know that it is ready to pair?",
                "What about the pairing light?",
                "Which colour does it blink in pairing mode?",
            ),
            "validation": ("And which light shows pairing?", "What colour is it when it pairs?"),
            "test": (
                "And which colour is its light in pairing mode?",
                "I want to pair it now. What colour must the light be?",
            ),
        },
        answers=(
            "The light of the {p} blinks {v} in pairing mode.",
            "Look for a {v} light on the {p}: then it is ready to pair.",
            "When the {p} is pairing, its light is {v}.",
        ),
        noun="pairing light colour",
        clause="the pairing light is {v}",
    ),
    "range": Attribute(
        questions={
            "train": (
                "What is the wireless range of the {p}?",
                "How far does the signal of the {p} reach?",
                "How many metres may the {p} be from the hub?",
                "How far away from the hub can I put my {p}?",
                "My {p} loses the connection. What range does it have?",
                "What is the largest distance between the {p} and the hub?",
                "Up to how many metres does the {p} stay connected?",
                "How far can the {p} be from the hub?",
            ),
            "validation": (
                "Over how many metres does the {p} reach the hub?",
                "What range does the wireless signal of my {p} have?",
            ),
            "test": (
                "At what distance from the hub does my {p} still stay connected?",
                "How far is the wireless range of the {p}?",
                "My {p} is in the garden: how many metres from the hub can it be?",
            ),
        },
        follow_ups={
            "train": (
                "And how far does the signal reach?",
                "What about the wireless range?",
                "How many metres may it be from the hub?",
                "How far away from the hub can I put it?",
            ),
            "validation": ("And what is its range?", "Up to how many metres does it work?"),
            "test": (
                "And how far from the hub does it stay connected?",
                "All right. What is its wireless range?",
            ),
        },
        answers=(
            "The {p} reaches {v} from the hub.",
            "The wireless range of the {p} is {v}.",
            "You can put the {p} up to {v} away from the hub.",
        ),
        noun="wireless range",
        clause="the wireless range is {v}",
    ),
}
