"""JSON that gives back exactly what it was given, or refuses to be written.

Plain JSON turns tuples into lists, and keys into texts, and knows no number of NumPy's.
"""

from __future__ import annotations

import json
from typing import Any

from pydantic_core import from_json, to_json

_TUPLE, _PAIRS, _NUMPY = "~tuple", "~pairs", "~numpy"
_NUMPY_KINDS = "fiubU"
_LONG_DOUBLE = "g"


def encode_exactly(value: Any) -> bytes:
    """Return ``value`` as JSON in UTF-8. Raises ValueError for what would come back as something else."""
    try:
        content = to_json(value, inf_nan_mode="constants")
        if b'"~' not in content and from_json(content) == value:
            return content
    except ValueError:
        pass
    try:
        return json.dumps(_tagged(value), ensure_ascii=False).encode("utf-8", "surrogatepass")
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def decode_exactly(value: Any) -> Any:
    """Return what was encoded, out of what a JSON reader made of it."""
    if isinstance(value, list):
        return [decode_exactly(item) for item in value]
    if not isinstance(value, dict):
        return value
    match value:
        case {"~tuple": items}:
            return tuple(decode_exactly(items))
        case {"~pairs": pairs}:
            return {decode_exactly(key): decode_exactly(item) for key, item in pairs}
        case {"~numpy": kind, "value": numbers}:
            import numpy as np

            return np.array(numbers, dtype=kind)[()]
    return {key: decode_exactly(item) for key, item in value.items()}


def _tagged(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is list:
        return [_tagged(item) for item in value]
    if type(value) is tuple:
        return {_TUPLE: [_tagged(item) for item in value]}
    if type(value) is dict:
        if all(type(key) is str and not key.startswith("~") for key in value):
            return {key: _tagged(item) for key, item in value.items()}
        return {_PAIRS: [[_tagged(key), _tagged(item)] for key, item in value.items()]}
    if type(value).__module__ == "numpy" and _is_plain(value.dtype):
        return {_NUMPY: value.dtype.str, "value": value.tolist()}
    if isinstance(value, str):  # an answer that says what it cost
        return str(value)
    raise ValueError(f"a {type(value).__qualname__} cannot be kept as JSON")


def _is_plain(dtype: Any) -> bool:
    return dtype.kind in _NUMPY_KINDS and dtype.char != _LONG_DOUBLE
