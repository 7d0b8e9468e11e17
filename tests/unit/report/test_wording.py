"""Numbers, times and texts as readers get them."""

from __future__ import annotations

import pytest

from phi3flow.report.wording import interval, latency, number, p_value, signed
from phi3flow.text import duration, shorten, visible


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (number(None), "–"),
        (number(-0.0001), "0.000"),
        (number(-0.5), "−0.500"),
        (number(12345, 0), "12,345"),
        (signed(0.25), "+0.250"),
        (signed(-0.25), "−0.250"),
        (signed(0.0001), "0.000"),
        (interval(-0.1, 0.2, 1, sign=True), "[−0.1, +0.2]"),
        (interval(None, 0.2), ""),
        (p_value(0.0009), "< 0.001"),
        (p_value(0.04), "0.040"),
        (p_value(None), "–"),
        (latency(2.414), "2.41 ms"),
        (latency(340.4), "340 ms"),
        (latency(1240), "1.24 s"),
        (duration(8.24), "8.2 s"),
        (duration(185), "3 min 5 s"),
        (duration(7805), "2 h 10 min"),
        (shorten("a\n b", 10), "a b"),
        (shorten("abcdef", 3), "abc…"),
        (visible("a\u202eb\r\nc\td"), "a⟨U+202E⟩b\nc\td"),
        (visible("\ud800\u2028\x00"), "⟨U+D800⟩⟨U+2028⟩⟨U+0000⟩"),
        (visible("👩\u200d🔬 é 한"), "👩\u200d🔬 é 한"),
    ],
)
def test_values_are_written_for_readers(written: str, expected: str) -> None:
    assert written == expected
