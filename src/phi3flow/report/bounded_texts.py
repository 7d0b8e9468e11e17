"""Texts as the page carries them: JSON that may stand in HTML, and the limit that keeps all within a budget."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Callable, Sequence

LONGEST_TEXT = 20_000
SHORTEST_CUT = 100
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_UNSAFE = re.compile("[<>&\u2028\u2029\ud800-\udfff]")

Text = str | list[str | int]
"""A text, or where it is longer than the limit: its beginning, and the number of characters left out."""

Cut = Callable[[str], Text]


def to_json(value: object) -> str:
    """Return JSON that can stand in an HTML script element: no <, >, &, U+2028, U+2029, no lone surrogate."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _UNSAFE.sub(lambda match: _ESCAPED.get(match.group()) or f"\\u{ord(match.group()):04x}", text)


def size(value: object) -> int:
    """Return how many bytes a value takes in the page."""
    return len(to_json(value).encode())


def cutter(limit: int) -> Cut:
    """Return what cuts texts to a limit."""
    return lambda text: text if len(text) <= limit else [text[:limit], len(text) - limit]


def text_limit(carried: Sequence[str], budget: int) -> int:
    """Return the longest limit (characters) that keeps all texts within ``budget`` bytes, by bisection."""
    sizes = [(len(text), size(text)) for text in carried if text]

    def fits(limit: int) -> bool:
        return sum(bytes_ * min(1.0, limit / length) for length, bytes_ in sizes) <= budget

    limits = range(SHORTEST_CUT + 1, LONGEST_TEXT + 1)
    return SHORTEST_CUT + bisect.bisect_left(limits, True, key=lambda limit: not fits(limit))
