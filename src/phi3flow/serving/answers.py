"""Turn an answer's tokens into text as they come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

UNFINISHED = "�"
"""What a decoder shows for a character of which not all bytes have come."""


class AnswerText:
    """The text of one answer, token by token.

    ``on_text`` gets each piece as soon as it is certain: never half a character, and never what may turn out to
    be the beginning of a stop string. Without ``on_text`` and ``stop`` nothing is decoded before the end.
    """

    def __init__(
        self,
        decode: Callable[[list[int]], str],
        *,
        stop: Sequence[str] = (),
        on_text: Callable[[str], None] | None = None,
    ) -> None:
        self._decode = decode
        self._stop = stop
        self._on_text = on_text
        self._tokens: list[int] = []
        self._context_start = 0  # decoders look at the tokens before: those from here on are decoded again
        self._decoded = 0  # tokens whose text is in self._text
        self._text = ""
        self._sent = 0
        self.stopped = False

    def push(self, token: int) -> None:
        """Take one token; ``stopped`` is true from the moment that the text holds a stop string."""
        self._tokens.append(token)
        if self._stop or self._on_text:
            self._extend(final=False)

    def finish(self) -> str:
        """Send what was held back and return the whole text."""
        if not self.stopped:
            self._extend(final=True)
        self._send(len(self._text))
        return self._text

    def _extend(self, *, final: bool) -> None:
        before = self._decode(self._tokens[self._context_start : self._decoded])
        after = self._decode(self._tokens[self._context_start :])
        if not final and (len(after) <= len(before) or after.endswith(UNFINISHED)):
            return
        self._context_start, self._decoded = self._decoded, len(self._tokens)
        self._text += after[len(before) :]
        self._cut_at_stop()
        if not self.stopped:
            self._send(len(self._text) - self._held_back())

    def _cut_at_stop(self) -> None:
        starts = [start for start in (self._text.find(stop, self._sent) for stop in self._stop) if start >= 0]
        if starts:
            self._text = self._text[: min(starts)]
            self.stopped = True

    def _held_back(self) -> int:
        """Return the length of the longest end of the text that begins a stop string."""
        return max(
            (length for stop in self._stop for length in range(1, len(stop)) if self._text.endswith(stop[:length])),
            default=0,
        )

    def _send(self, end: int) -> None:
        if self._on_text and end > self._sent:
            self._on_text(self._text[self._sent : end])
        self._sent = max(self._sent, end)
