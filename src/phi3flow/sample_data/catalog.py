"""The made-up product range: 24 cordless Velmora devices with eight facts each.

Facts are drawn so that they cannot be guessed: numbers, codes and colours that differ from product to product,
no yes or no, nothing that a question would give away.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

COMPANY = "Velmora"

PRODUCTS = (
    "Aldra floor lamp",
    "Brennik speaker",
    "Corvane air monitor",
    "Dellmo doorbell",
    "Estrin toothbrush",
    "Fennock scale",
    "Galvo drill",
    "Hestle heat pad",
    "Ivaro thermostat",
    "Jorrel camera",
    "Kaspin vacuum",
    "Lirrel alarm clock",
    "Mondra headset",
    "Nerith hair clipper",
    "Ostry fan",
    "Pellan radio",
    "Quenta lock",
    "Rivolt bike light",
    "Sundro lantern",
    "Tolmar projector",
    "Ulvet tyre pump",
    "Vexley watch",
    "Wendow blind",
    "Yolden keyboard",
)

COLOURS = (
    "amber",
    "teal",
    "violet",
    "crimson",
    "lime",
    "cyan",
    "magenta",
    "orange",
    "turquoise",
    "indigo",
    "coral",
    "gold",
    "pink",
    "lavender",
    "mint",
    "ruby",
    "sapphire",
    "emerald",
    "peach",
    "ivory",
    "copper",
    "jade",
    "lilac",
    "scarlet",
)


@dataclass(frozen=True)
class Fact:
    """One attribute of one product; ``value`` is what every right answer must contain."""

    product: str
    attribute: str
    value: str
    variant: int
    """Which of an attribute's answer sentences support uses: one choice for each product, as manuals are written."""


def draw_facts(seed: int) -> dict[tuple[str, str], Fact]:
    """Return the facts by (product, attribute); the same seed gives the same range."""
    rng = random.Random(f"catalog-{seed}")
    count = len(PRODUCTS)
    letters = "BCDFGHKLMNPRSTVWXZ"
    values = {
        "battery_life": [f"{hours} hours" for hours in rng.sample(range(11, 96), count)],
        "charging_time": [f"{minutes} minutes" for minutes in rng.sample(range(35, 240, 5), count)],
        "warranty": [f"{months} months" for months in rng.sample(range(14, 62, 2), count)],
        "reset": [f"{seconds} seconds" for seconds in rng.sample([*range(10, 22)] * 2, count)],
        "pin": [str(pin) for pin in rng.sample(range(1000, 10000), count)],
        "part_number": [
            f"{rng.choice(letters)}{rng.choice(letters)}-{number}" for number in rng.sample(range(100, 1000), count)
        ],
        "light": rng.sample(COLOURS, count),
        "range": [f"{metres} metres" for metres in rng.sample(range(11, 96), count)],
    }
    variants = rng.choices(range(3), k=count)
    return {
        (product, attribute): Fact(product, attribute, drawn[index], variants[index])
        for attribute, drawn in values.items()
        for index, product in enumerate(PRODUCTS)
    }
