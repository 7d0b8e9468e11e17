"""Text for people: cut to what a message can carry, counted, and with what is invisible in it shown."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = {"\n", "\t", "\u200c", "\u200d"}  # the last two join letters and emoji; without them words break
_SUSPECT = re.compile(r"[^\x20-\x7e\n\t]")


def cut(text: str, limit: int) -> str:
    """Return ``text`` where it has at most ``limit`` characters, else so many of them and an ellipsis."""
    return text if len(text) <= limit else text[:limit].rstrip() + "…"


def shorten(text: str, limit: int = 60) -> str:
    """Return ``text`` on one line, cut to what an error message can carry."""
    return cut(" ".join(text.split()), limit)


def whole(text: str) -> str:
    """Return ``text`` with U+FFFD for half a character (a lone surrogate), which UTF-8 and tokenizers have not."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def first_sentence(error: Exception) -> str:
    """Return the first sentence of what an error says, cut to 200 characters; its type where it says nothing."""
    return cut(str(error).strip().split("\n")[0].split(". ")[0].rstrip("."), 200) or type(error).__name__


def plural(count: int, noun: str) -> str:
    """Return "1 line", "5,000 lines"."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def confidence(level: float) -> str:
    """Return "95 %" for the level 0.05 of a test: how sure the interval is that belongs to it."""
    return f"{100 * (1 - level):.4g} %"


def money(amount: float) -> str:
    """Return an amount with two decimals, of one below 1 three digits that are not 0."""
    if amount == 0 or abs(amount) >= 1:
        return f"{amount:,.2f}"
    return f"{amount:.3g}" if abs(amount) >= 1e-4 else f"{amount:.7f}"


def duration(seconds: float) -> str:
    """Return seconds as "8.2 s", "3 min 5 s" or "2 h 10 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, remainder_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {remainder_s} s"
    return f"{minutes // 60} h {minutes % 60} min"


@lru_cache(maxsize=4096)
def letters(name: str) -> str:
    """Return what a name is whatever its case and marks: Ground Truth and groundTruth are ground_truth."""
    return "".join(filter(str.isalnum, name.casefold())) or name


def visible(text: str) -> str:
    """Return ``text`` with control, bidirectional and other invisible characters written as ⟨U+202E⟩.

    A question or an answer may hold characters that reorder or hide what stands beside them
    (Trojan Source, CVE-2021-42574); a report must show them instead of obeying.
    """
    return _SUSPECT.sub(_visible_character, text.replace("\r\n", "\n"))


def _visible_character(match: re.Match[str]) -> str:
    character = match.group()
    if character in _KEPT or unicodedata.category(character) not in _INVISIBLE:
        return character
    return f"⟨U+{ord(character):04X}⟩"
