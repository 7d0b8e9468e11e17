"""Numbers in a text, so that 1,234 and 1 234 are one number, and 1.5 and 15 two."""

from __future__ import annotations

import re

SIGN = r"[-+±](?=\.?\d)"
"""A sign stands before its number without a space; what stands before it says whether it is a hyphen."""

BETWEEN_DIGITS = r"(?<=\d)[-.,'/:^~·×*_](?=\d)"
"""What joins digits to one number or one code: 1.5, 1/5, 10:30, 2024-05-01."""

POINT = r"(?<![\w.])\."
"""A decimal point without a digit before it."""

_EXPONENT = r"e[-+]?\d{1,2}"

NUMBER = rf"(?:{POINT})?\d++(?:{BETWEEN_DIGITS}\d++)*+(?:{_EXPONENT}(?!\w))?+"
"""Digits and what joins them: a number or, as number_form says, a code."""

INTRICATE = re.compile(r"[-+.,'/:^~*$_]\d|\d(?:[^\W\d]| \d)", re.ASCII)
"""What an ASCII text has where its numbers are not just digits between spaces or brackets, which need no reading."""

_GROUPS_OF_SPACES = re.compile(
    r"(?<![\w.])(?<!\d[-.,'/:^~·×* ])(?<!\w-)[1-9]\d{0,2}+(?: \d{3})++(?!\d)(?! \d)", re.ASCII
)
_FRACTION = re.compile(r"(?<=\d) (?=\d{1,2}/\d{1,2}(?![\d/]))", re.ASCII)
_GROUPS_OF_COMMAS = re.compile(r"[1-9]\d{0,2}(?:,\d{3})+(?:\.\d+)?|[1-9]\d?(?:,\d{2})+,\d{3}(?:\.\d+)?", re.ASCII)
_GROUPS_OF_POINTS = re.compile(r"[1-9]\d{0,2}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})", re.ASCII)
_OTHER_NUMBER = re.compile(
    rf"[1-9]\d{{0,2}}(?:(?:'\d{{3}})+|(?:_\d{{3}})+)(?:[.,]\d+)?|(?:(?:0|[1-9]\d*)(?:[.,]\d+)?|\.\d+)(?:{_EXPONENT})?",
    re.ASCII,
)
_UNGROUPED = str.maketrans({"'": None, "_": None, ",": "."})
_POINTS_FOR_COMMAS = str.maketrans({".": None, ",": "."})


def join_groups(text: str) -> str:
    """Write 1 234 567 as 1_234_567 and 1 1/2 as 1_1/2: these spaces, and no others, are within a number."""
    return _FRACTION.sub("_", _GROUPS_OF_SPACES.sub(lambda groups: groups[0].replace(" ", "_"), text))


def number_form(digits: str, sign: str = "") -> str:
    """Return what all ways to write a number have in common: 1500 for 1,500 and 1.5e3, 15e-1 for 1.50.

    Commas, spaces, apostrophes and underscores part groups of three (and of two, as in India, before the last), points
    only where there are several, or a comma after them. Else a point or a comma is decimal. What is no such number
    (1.2.3, 1/5, 007) is a code, and stays as it is. No arithmetic: a number may have a million digits.
    """
    sign = "" if sign == "+" else sign
    if _GROUPS_OF_COMMAS.fullmatch(digits):
        plain = digits.replace(",", "")
    elif _GROUPS_OF_POINTS.fullmatch(digits):
        plain = digits.translate(_POINTS_FOR_COMMAS)
    elif _OTHER_NUMBER.fullmatch(digits):
        plain = digits.translate(_UNGROUPED)
    else:
        return sign + digits
    mantissa, _, power = plain.partition("e")
    whole, _, fraction = mantissa.partition(".")
    significant = (whole + fraction).lstrip("0")
    if not significant:
        return "0"
    shortest = significant.rstrip("0")
    exponent = int(power or 0) - len(fraction) + len(significant) - len(shortest)
    return sign + shortest + (f"e{exponent}" if exponent < 0 else "0" * exponent)
