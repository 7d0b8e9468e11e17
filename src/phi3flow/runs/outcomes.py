"""What became of each line of a run, in a byte a line."""

from __future__ import annotations

from collections import Counter

from phi3flow.records.lines import Usage
from phi3flow.records.runs import Counts, Prices, TokenTotal


class LineOutcomes:
    """What became of each of ``total`` lines to run: a byte a line, whatever was written about it.

    They are any among ``lines`` of the data, where that is more.
    """

    _NONE, _COMPLETED, _FAILED = range(3)

    def __init__(self, total: int, *, lines: int = 0) -> None:
        self._total = total
        self._states = bytearray(max(total, lines))
        self._completed = self._failed = self._retries = 0
        self._tokens: Counter[str] = Counter()
        self.cache_hits = 0

    @property
    def counts(self) -> Counts:
        """How many lines there are and what became of them so far."""
        total = max(self._total, self._completed + self._failed)
        return Counts(total=total, completed=self._completed, failed=self._failed, retries=self._retries)

    def tokens(self, prices: Prices | None) -> TokenTotal:
        """Return the tokens of the completed lines, and what they cost."""
        n_unknown = self._completed - self._tokens["n_endpoint"] - self._tokens["n_tokenizer"]
        total = TokenTotal(**self._tokens, n_unknown=n_unknown)
        if prices is None or not total.n_endpoint + total.n_tokenizer:
            return total
        cost = total.prompt_tokens * prices.tokens_in + total.completion_tokens * prices.tokens_out
        return total.model_copy(update={"cost": cost / 1e6})

    def is_completed(self, number: int) -> bool:
        """Whether a line needs no further attempt."""
        return self._states[number] == self._COMPLETED

    def add(self, number: int, *, completed: bool, attempts: int, usage: Usage | None) -> None:
        """Take note of a record of the results."""
        self._retries += max(0, attempts - 1)
        self.cache_hits += completed and attempts == 0
        if number >= len(self._states):  # an earlier opening of the run had a larger --limit
            self._states.extend(bytes(number + 1 - len(self._states)))
            self._total = len(self._states)
        before = self._states[number]
        if before == self._COMPLETED:
            return
        if completed and usage:
            counted = {"prompt_tokens": usage.prompt_tokens, "completion_tokens": usage.completion_tokens}
            self._tokens.update(counted | {f"n_{usage.counted_by}": 1})
        self._completed += completed
        self._failed += (not completed) - (before == self._FAILED)
        self._states[number] = self._COMPLETED if completed else self._FAILED
