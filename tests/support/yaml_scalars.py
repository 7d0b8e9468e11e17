"""Scalars of YAML by their look: what a file may say, as it is written."""

from __future__ import annotations

LOOKS = (  # what is not so bare in YAML 1.2, or only in YAML 1.1
    *("yes", "no", "on", "off", "Yes", "ON", "y", "true", "True", "TRUE", "'true'", "null", "Null", "~", "''", '""'),
    *("09123", "0123", "0o17", "0x1F", "1_000", "+1", "-1", "12:30", "'09123'", '"1e3"', "1.10", ".5", "1e3", ".inf"),
    *(".nan", "2024-02-01", "2024-02-01T10:00:00", "'2024-02-01'", "1.2.3", "0.10.0", "v1", "a b", "a#b", "- a"),
)
