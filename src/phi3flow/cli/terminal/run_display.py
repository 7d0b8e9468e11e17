"""What the user sees of batch runs, whichever engine carries them out."""

from __future__ import annotations

from phi3flow.cli.terminal.job_line import JobLine
from phi3flow.cli.terminal.progress_line import ProgressLine
from phi3flow.cli.terminal.terminal import Terminal


class TerminalRunDisplay:
    """The terminal as an engine's RunDisplay; ``yes`` answers what it asks."""

    def __init__(self, terminal: Terminal, *, yes: bool) -> None:
        self._terminal = terminal
        self._yes = yes

    def confirm(self, question: str) -> bool:
        """See RunDisplay."""
        return self._terminal.confirm(question, yes=self._yes)

    def note(self, text: str) -> None:
        """See RunDisplay."""
        self._terminal.note(text)

    def lines(self) -> ProgressLine:
        """See RunDisplay."""
        return ProgressLine(self._terminal)

    def jobs(self) -> JobLine:
        """See RunDisplay."""
        return JobLine(self._terminal)
