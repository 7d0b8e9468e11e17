"""What a verb says and to whom: results on stdout, progress and notes on stderr."""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.progress import Progress, ProgressColumn
    from rich.segment import Segment

_WIDTH_WITHOUT_TERMINAL = 120
_CONTROL = frozenset({"Cc", "Cf"})
_PIPELINES = frozenset({"GITHUB_ACTIONS", "TF_BUILD"})
_LOG_COMMAND = re.compile(r"(?m)^\s*:(?=:)|#(?=#(?:vso)?\[)")


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
            sys.stdout.write(_escaped(json.dumps(data, ensure_ascii=False, default=str)) + "\n")
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
        sys.stderr.write(f"{_printable(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def _console(self, *, stderr: bool) -> Console:
        """Return a console that takes text as it is: no markup, no emoji codes, and wide where it is no terminal."""
        from rich.console import Console

        class Heard(Console):
            def on_broken_pipe(self) -> None:
                raise BrokenPipeError  # rich would end the process with exit code 1

        file = sys.stderr if stderr else sys.stdout
        return Heard(
            file=file,
            markup=False,
            emoji=False,
            highlight=False,
            width=None if file.isatty() else _WIDTH_WITHOUT_TERMINAL,
            soft_wrap=not file.isatty(),
        )


class _Printable:
    """A table or the like whose texts are ``_printable``."""

    def __init__(self, content: RenderableType) -> None:
        self._content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        for segment in console.render(self._content, options):
            yield segment if segment.control else Segment(_printable(segment.text), segment.style)


def _printable(content: Any) -> Any:
    """Show control characters in what may come from a model or an endpoint, so that none drives the terminal.

    In a pipeline a line may drive its agent (``::error``, ``##vso[task.setvariable …]``): there it is taken apart.
    """
    if not isinstance(content, str):
        return _Printable(content)
    text = content if content.isascii() and content.isprintable() else _visible(content)
    return _LOG_COMMAND.sub(lambda sign: f"{sign[0]} ", text) if _PIPELINES & os.environ.keys() else text


def _visible(text: str) -> str:
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in _CONTROL else f"\\u{ord(char):04x}" for char in text
    )


def _escaped(text: str) -> str:
    """Return JSON that says the same, without characters or words that drive a terminal or a pipeline's agent."""
    text = text.replace("##vso[", "#\\u0023vso[").replace("##[", "#\\u0023[")
    return "".join(char if unicodedata.category(char) not in _CONTROL else json.dumps(char)[1:-1] for char in text)
