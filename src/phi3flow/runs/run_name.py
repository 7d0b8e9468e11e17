"""Names of runs: they are folders, words of commands, and names in promptflow's list."""

from __future__ import annotations

import hashlib
import re

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = 100  # leaves room for what tells runs of one name apart
_DIGITS = 8


def is_run_name(text: str) -> bool:
    """Whether a text can be a run's name: letters, digits, '.', '_' and '-', at most 128."""
    return _NAME.fullmatch(text) is not None


def fit_run_name(text: str) -> str:
    """Return a text of at most 100 characters that can be a run's name, or begin one: itself, where it can be.

    Another keeps what it has of letters and digits, and gets eight digits of its SHA-256: two texts have two names.
    """
    if is_run_name(text) and len(text) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
    kept = _UNFIT.sub("-", text).strip("-._")[: _LONGEST - _DIGITS - 1]
    return f"{kept}-{digest}" if kept else digest
