"""The line of something that takes minutes: what is being done, and for how long."""

from __future__ import annotations

from phi3flow.cli.terminal.terminal import Terminal


class TimedLine:
    """The last note with the time since it was made, on a terminal; everywhere each note as a line."""

    def __init__(self, terminal: Terminal) -> None:
        from rich.progress import SpinnerColumn, TimeElapsedColumn

        self._terminal = terminal
        self._line = terminal.progress(SpinnerColumn(), TimeElapsedColumn(), transient=True)
        self._line.add_task("", total=None)

    def __enter__(self) -> TimedLine:
        self._line.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._line.stop()

    def note(self, text: str) -> None:
        """Print a note."""
        self._terminal.note(text)
