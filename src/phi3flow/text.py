"""Text for people: cut to what a message can carry, and with what is invisible in it shown."""

from __future__ import annotations

import re
import unicodedata

_SHOWN_CHARACTERS = 60


def shorten(text: str) -> str:
    """Return ``text`` on one line, cut to what an error message can carry."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + "…"


_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = {"\n", "\t", "\u200c", "\u200d"}  # the last two join letters and emoji; without them words break
_SUSPECT = re.compile(r"[^\x20-\x7e\n\t]")


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
