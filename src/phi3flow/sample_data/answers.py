"""How support answers: three sentences for each attribute, of which each product's manual uses one.

The product comes before the value, so that the value follows from what has just been said.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attribute:
    """What an attribute is called, and its ``answers``: ``{p}`` is the product, ``{v}`` the value."""

    noun: str
    answers: tuple[str, str, str]


ATTRIBUTES = {
    "battery_life": Attribute(
        noun="battery life",
        answers=(
            "The {p} runs for {v} on a full battery.",
            "On a full charge the {p} lasts {v}.",
            "The battery of the {p} lasts {v}.",
        ),
    ),
    "charging_time": Attribute(
        noun="charging time",
        answers=(
            "Charging the {p} takes {v}.",
            "The {p} is full after {v} on the charger.",
            "The {p} needs {v} to charge completely.",
        ),
    ),
    "warranty": Attribute(
        noun="warranty",
        answers=(
            "The {p} has a warranty of {v} from the day of purchase.",
            "Your {p} is covered for {v} after you bought it.",
            "The warranty on the {p} is {v}.",
        ),
    ),
    "reset": Attribute(
        noun="reset procedure",
        answers=(
            "To reset the {p}, hold the power button for {v}.",
            "You reset the {p} by pressing its button for {v}.",
            "The {p} goes back to factory settings when you hold its button for {v}.",
        ),
    ),
    "pin": Attribute(
        noun="setup PIN",
        answers=(
            "The setup PIN of the {p} is {v}.",
            "A new {p} uses the PIN {v}.",
            "For the {p}, please enter the PIN {v}.",
        ),
    ),
    "part_number": Attribute(
        noun="battery part number",
        answers=(
            "The spare battery for the {p} has the part number {v}.",
            "The {p} takes the replacement battery {v}.",
            "For the {p}, please order part {v}.",
        ),
    ),
    "light": Attribute(
        noun="pairing light colour",
        answers=(
            "The light of the {p} blinks {v} in pairing mode.",
            "When the {p} is pairing, its light is {v}.",
            "The {p} is ready to pair when its light is {v}.",
        ),
    ),
    "range": Attribute(
        noun="wireless range",
        answers=(
            "The {p} reaches {v} from the hub.",
            "The wireless range of the {p} is {v}.",
            "You can put the {p} up to {v} away from the hub.",
        ),
    ),
}
