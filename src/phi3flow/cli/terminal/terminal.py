"""What a verb says and to whom: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress, ProgressColumn

_WIDTH_WITHOUT_TERMINAL = 120
_CONTROL = frozenset({"Cc", "Cf"})


class Terminal:
    """The one place where verbs print.

    ``json_output`` puts one JSON object on stdout in place of text; ``quiet`` drops notes and progress
    (errors are still shown). Text is printed as it is: nothing in it is markup.
    """

    def __init__(self, *, json_output: bool = False, quiet: bool = False) -> None:
        self.json_output = json_output
        self.quiet = quiet

    def result(self, data: Any, text: RenderableType | None = None) -> None:
        """Print the verb's result: ``data`` as JSON under --json, else ``text`` (rich renderable or str)."""
        if self.json_output:
            sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str) + "\n")
            sys.stdout.flush()
        elif text is not None:
            self._console(stderr=False).print(_printable(text))

    def note(self, text: RenderableType) -> None:
        """Print a remark on stderr, unless --quiet."""
        if not self.quiet:
            self._console(stderr=True).print(_printable(text))

    def error(self, message: str) -> None:
        """Print an error on stderr, always, as plain text that is safe to copy."""
        sys.stderr.write(f"phi3flow: error: {_printable(message)}\n")
        sys.stderr.flush()

    def progress(self, *columns: str | ProgressColumn, transient: bool = False) -> Progress:
        """Return a rich progress display on stderr; it draws nothing where stderr is no terminal or --quiet."""
        from rich.progress import Progress

        console = self._console(stderr=True)
        return Progress(*columns, console=console, transient=transient, disable=self.quiet or not console.is_terminal)

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Ask before something is deleted or costs money; ``yes`` answers, and so does no terminal: with no."""
        if yes:
            return True
        if not sys.stdin.isatty():
            self.error(f"{question} Nothing was done: answer with --yes where there is no terminal.")
            return False
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def _console(self, *, stderr: bool) -> Console:
        """Return a console that takes text as it is: no markup, no emoji codes, and wide where it is no terminal."""
        from rich.console import Console

        file = sys.stderr if stderr else sys.stdout
        return Console(
            file=file,
            markup=False,
            emoji=False,
            highlight=False,
            width=None if file.isatty() else _WIDTH_WITHOUT_TERMINAL,
            soft_wrap=not file.isatty(),
        )


def _printable(text: Any) -> Any:
    """Show control characters in what may come from a model or an endpoint, so that none drives the terminal."""
    if not isinstance(text, str):
        return text
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in _CONTROL else f"\\u{ord(char):04x}" for char in text
    )
