"""Numbers, whatever library they come from: Python's, NumPy's scalars and 0-d arrays, Decimal."""

from __future__ import annotations

from typing import Any

_REAL = "fiub"


def as_number(value: Any) -> float | None:
    """Return what ``value`` is as a number, truth values included; None where it is none, as a text or a list.

    NumPy is not imported to find out. Raises OverflowError for a whole number that no float holds.
    """
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str | bytes) or not hasattr(type(value), "__float__") or getattr(value, "shape", ()) != ():
        return None
    if getattr(getattr(value, "dtype", None), "kind", "f") not in _REAL:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
