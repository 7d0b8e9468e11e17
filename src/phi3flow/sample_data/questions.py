"""How customers ask about each attribute, kept apart by split.

``{p}`` is the product. A question of one split never stands in another, so that the test asks what was never read,
about facts that were. QUESTIONS name the product; FOLLOW_UPS leave it to the conversation.
"""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "validation", "test"]
BySplit = dict[Split, tuple[str, ...]]

QUESTIONS: dict[str, BySplit] = {
    "battery_life": {
        "train": (
            "How long does the battery of the {p} last?",
            "What is the battery life of the {p}?",
            "How many hours does the {p} run on one charge?",
            "How long can I use my {p} before the battery is empty?",
            "Could you tell me how long the battery lasts in the {p}?",
            "My {p} goes flat quickly. What battery life is normal?",
            "How many hours should a full battery last in the {p}?",
            "I want to take the {p} on a trip. How long does it last on one charge?",
            "For how long does my {p} run when the battery is full?",
            "What battery life does the {p} have?",
            "How many hours of use can I expect from the {p}?",
            "I am away with my {p} next week. How many hours does its battery last?",
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
    "charging_time": {
        "train": (
            "How long does the {p} take to charge?",
            "What is the charging time of the {p}?",
            "How many minutes until my {p} is fully charged?",
            "How long must I leave the {p} on the charger?",
            "My {p} is empty. How long does charging take?",
            "How many minutes of charging does the {p} need?",
            "When will the {p} be full after I plug it in?",
            "How long until the {p} is charged?",
            "What is the usual time to charge the {p}?",
            "My {p} has just gone on the charger. How long until it is full?",
            "How long should the {p} charge until it is full?",
            "I have plugged in my {p}. How many minutes does charging take?",
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
    "warranty": {
        "train": (
            "How long is the warranty on the {p}?",
            "What warranty does the {p} come with?",
            "For how many months is my {p} under warranty?",
            "My {p} broke. How long is it covered by the warranty?",
            "How many months of warranty do I get with the {p}?",
            "Is there a warranty on the {p}, and how long is it?",
            "When does the warranty of the {p} end?",
            "How long does {company} repair the {p} under warranty?",
            "How long does the warranty cover the {p}?",
            "My {p} stopped working. For how many months is the warranty?",
            "How many months does the warranty on the {p} run?",
            "What warranty does {company} give on the {p}?",
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
    "reset": {
        "train": (
            "How do I reset the {p}?",
            "How long must I hold the button to reset my {p}?",
            "My {p} does not respond. How can I reset it?",
            "What do I have to do to reset the {p} to factory settings?",
            "How many seconds do I press the button for a reset of the {p}?",
            "I want to sell my {p}. How do I reset it first?",
            "Can you explain the factory reset of the {p}?",
            "The {p} has stopped working properly. How can I reset it?",
            "My {p} is frozen. How can I reset it?",
            "How many seconds do I hold the button so that my {p} goes back to factory settings?",
            "What is the right way to do a factory reset on the {p}?",
            "Which button resets the {p}, and how long do I hold it?",
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
    "pin": {
        "train": (
            "What is the setup PIN of the {p}?",
            "Which PIN do I enter to set up my {p}?",
            "The app asks me for a PIN for the {p}. What is it?",
            "I lost the card with the PIN of my {p}. Can you help?",
            "Can you give me the default PIN for the {p}?",
            "What PIN does the {p} have when it is new?",
            "My {p} wants a PIN. Which one is it?",
            "I cannot finish the setup of the {p} without a PIN. What is the PIN?",
            "The app asks for the default PIN of my {p}. Which one is it?",
            "Which PIN belongs to a new {p}?",
            "I need a PIN during the setup of my {p}. What is it?",
            "Can you help me with the PIN to set up the {p}?",
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
    "part_number": {
        "train": (
            "What is the part number of the battery for the {p}?",
            "Which spare battery fits the {p}?",
            "I want to order a new battery for my {p}. Which one do I need?",
            "Which part number do I order for the {p}?",
            "My {p} needs a replacement battery. What is the part number?",
            "Where do I find the part number of a spare battery for the {p}?",
            "Can you tell me which replacement battery the {p} takes?",
            "The battery of my {p} is dead. Which spare part do I order?",
            "I need a new battery for the {p}. What is its part number?",
            "Could you look up the spare battery for my {p}?",
            "Which battery do I order for the {p}?",
            "What do I order as a replacement for the battery of my {p}?",
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
    "light": {
        "train": (
            "What colour is the light of the {p} in pairing mode?",
            "How do I know that my {p} is ready to pair?",
            "Which light shows that the {p} is pairing?",
            "What colour does the {p} blink when it is pairing?",
            "Which colour should the light on my {p} have before I pair it?",
            "I am trying to pair the {p}. What colour must the light be?",
            "What does the light of the {p} look like in pairing mode?",
            "How can I see that the {p} is in pairing mode?",
            "In which colour does the {p} blink when I pair it?",
            "What light do I see when my {p} is ready to pair?",
            "Which colour must I see on the {p} before I can pair it?",
            "What colour is the light on my {p} in pairing mode?",
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
    "range": {
        "train": (
            "What is the wireless range of the {p}?",
            "How far does the signal of the {p} reach?",
            "How many metres may the {p} be from the hub?",
            "How far away from the hub can I put my {p}?",
            "My {p} loses the connection. What range does it have?",
            "What is the largest distance between the {p} and the hub?",
            "Up to how many metres does the {p} stay connected?",
            "How far can the {p} be from the hub?",
            "How far is the range of my {p}?",
            "I want to use the {p} in the garden. How many metres from the hub can it be?",
            "What distance from the hub is right for my {p}?",
            "How far from the hub does the {p} stay connected?",
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
}

FOLLOW_UPS: dict[str, BySplit] = {
    "battery_life": {
        "train": (
            "And how long does the battery last?",
            "How many hours does it run on one charge?",
            "What about its battery life?",
            "How long can I use it before the battery is empty?",
            "For how long does it run when it is full?",
            "How long will the battery last?",
        ),
        "validation": (
            "And what is the battery life?",
            "How many hours will the battery last?",
        ),
        "test": (
            "And for how long does it run on a full battery?",
            "Good to know. How long will its battery last?",
        ),
    },
    "charging_time": {
        "train": (
            "And how long does it take to charge?",
            "How many minutes until it is fully charged?",
            "What about the charging time?",
            "How long must it stay on the charger?",
            "How long until it is full again?",
            "How many minutes does it take to charge?",
        ),
        "validation": (
            "And what is its charging time?",
            "How many minutes of charging does it need?",
        ),
        "test": (
            "And how many minutes does it take to charge fully?",
            "Thanks. How long until it is charged again?",
        ),
    },
    "warranty": {
        "train": (
            "And how long is the warranty?",
            "How many months of warranty does it have?",
            "What about the warranty?",
            "For how long is it covered by the warranty?",
            "How many months does the warranty cover it?",
            "And how long is it under warranty?",
        ),
        "validation": (
            "And what is its warranty period?",
            "How many months is it under warranty?",
        ),
        "test": (
            "And for how many months does the warranty cover it?",
            "I see. How long is its warranty?",
        ),
    },
    "reset": {
        "train": (
            "And how do I reset it?",
            "How long must I hold the button for a reset?",
            "What about a factory reset?",
            "It does not respond. How can I reset it?",
            "It is frozen. How can I reset it?",
            "And how many seconds do I hold the button?",
        ),
        "validation": (
            "And how does the reset work?",
            "How many seconds do I press for a reset?",
        ),
        "test": (
            "And how many seconds must I hold the button to reset it?",
            "It is frozen now. How do I do a reset?",
        ),
    },
    "pin": {
        "train": (
            "And what is the setup PIN?",
            "Which PIN do I enter in the app?",
            "What about the PIN?",
            "The app asks for a PIN. Which one is it?",
            "I want to set it up. Which PIN do I need?",
            "The app wants the PIN. What is it?",
        ),
        "validation": (
            "And which PIN does it use?",
            "What is its default PIN?",
        ),
        "test": (
            "And which PIN do I need to set it up?",
            "Now the app wants a PIN. What is it?",
        ),
    },
    "part_number": {
        "train": (
            "And which spare battery fits it?",
            "What is the part number of the battery?",
            "Which replacement battery do I order?",
            "What about a spare battery?",
            "I need a new battery for it. Which one fits?",
            "And what is the number of the spare battery?",
        ),
        "validation": (
            "And what is the part number?",
            "Which spare part do I order?",
        ),
        "test": (
            "And what is the part number of a spare battery?",
            "Then I need a new one: which replacement battery fits?",
        ),
    },
    "light": {
        "train": (
            "And what colour is the light when it is pairing?",
            "How do I know that it is ready to pair?",
            "What about the pairing light?",
            "Which colour does it blink in pairing mode?",
            "And which colour is the light?",
            "I want to pair it. What colour must it blink?",
        ),
        "validation": (
            "And which light shows pairing?",
            "What colour is it when it pairs?",
        ),
        "test": (
            "And which colour is its light in pairing mode?",
            "I want to pair it now. What colour must the light be?",
        ),
    },
    "range": {
        "train": (
            "And how far does the signal reach?",
            "What about the wireless range?",
            "How many metres may it be from the hub?",
            "How far away from the hub can I put it?",
            "And how far from the hub can it be?",
            "How far away does it stay connected?",
        ),
        "validation": (
            "And what is its range?",
            "Up to how many metres does it work?",
        ),
        "test": (
            "And how far from the hub does it stay connected?",
            "All right. What is its wireless range?",
        ),
    },
}
