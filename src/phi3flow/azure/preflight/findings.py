"""What a look ahead finds: each finding says what, why it stands in the way, and what to type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from phi3flow.errors import PreflightError
from phi3flow.records.record import Record


class Finding(Record):
    """Something that an error would come from, or a warning about what will be slow, dear or limited."""

    severity: Literal["error", "warning"]
    what: str
    why: str
    remedy: str

    @classmethod
    def error(cls, what: str, why: str, remedy: str) -> Finding:
        """Return a finding that something would fail."""
        return cls(severity="error", what=what, why=why, remedy=remedy)

    @classmethod
    def warning(cls, what: str, why: str, remedy: str) -> Finding:
        """Return a finding that something works, and not as one may expect."""
        return cls(severity="warning", what=what, why=why, remedy=remedy)

    @property
    def message(self) -> str:
        """What, why and what to type."""
        return f"{self.what}: {self.why}. {self.remedy}"

    def __str__(self) -> str:
        return f"{self.severity}: {self.message}"


def refuse(findings: Sequence[Finding]) -> list[Finding]:
    """Raise PreflightError that lists every error among the findings; return them, all warnings, if there is none."""
    errors = [finding.message for finding in findings if finding.severity == "error"]
    if errors:
        raise PreflightError("\n".join(errors))
    return list(findings)
