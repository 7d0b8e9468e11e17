"""JSON that gives back exactly what it was given, or refuses."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.storage.exact_json import decode_exactly, encode_exactly

_KEYS = st.text() | st.integers() | st.sampled_from(["~tuple", "~pairs", "~numpy", "value", "${node.output}"])
_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters())
_VALUES = st.recursive(
    _PLAIN | st.floats(width=32).map(np.float32) | st.integers(-128, 127).map(np.int8) | st.booleans().map(np.bool_),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(_KEYS, inner),
    max_leaves=20,
)


def _is_same(value: Any, back: Any) -> bool:
    if type(value) is not type(back):
        return False
    if isinstance(value, dict):
        return list(value) == list(back) and all(_is_same(value[key], back[key]) for key in value)
    if isinstance(value, list | tuple):
        return len(value) == len(back) and all(_is_same(*pair) for pair in zip(value, back, strict=True))
    is_nan = isinstance(value, float | np.floating) and math.isnan(value)
    return math.isnan(back) if is_nan else bool(value == back)


@given(_VALUES)
def test_what_is_read_is_what_was_written(value: Any) -> None:
    encoded = encode_exactly(value)
    assert b"\n" not in encoded
    assert _is_same(value, decode_exactly(json.loads(encoded)))


def test_arrays_keep_their_type() -> None:
    back = decode_exactly(json.loads(encode_exactly({"a": np.arange(4, dtype=np.int16).reshape(2, 2)})))["a"]
    assert (back.dtype, back.tolist()) == (np.int16, [[0, 1], [2, 3]])


@pytest.mark.parametrize("value", [object(), {1, 2}, b"x", 1j, np.complex64(1), [lambda: 0], np.longdouble(1)])
def test_what_would_come_back_as_something_else_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="cannot be kept as JSON"):
        encode_exactly(value)


def test_what_is_nested_too_deeply_is_refused() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(ValueError, match="too deeply"):
        encode_exactly(nested)
