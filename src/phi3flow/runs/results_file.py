"""``results.jsonl``: read as it stands, checked against what the run left, and mended where the same command can."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from phi3flow.errors import DatasetError, ResumeMismatchError
from phi3flow.records.lines import LineResult
from phi3flow.records.runs import Manifest
from phi3flow.records.validation import first_problem
from phi3flow.storage.appended import repair_tail
from phi3flow.storage.files import write_files
from phi3flow.storage.jsonl import file_sha256

_LOG = logging.getLogger(__name__)

RESULTS_FILE = "results.jsonl"
DAMAGED_FILE = "results.damaged.jsonl"
_RUNS_AGAIN = "the batch-run command that made the run runs {} again"


@dataclass(frozen=True)
class StoredLine:
    """A line of the file: its number there, its bytes, and its result, or why it has none."""

    number: int
    content: bytes
    result: LineResult | None
    problem: str = ""


def stored_lines(path: Path) -> Iterator[StoredLine]:
    """Yield every line of a results.jsonl in the order of writing, the last one even where it is torn."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, content in enumerate(file, start=1):
            try:
                yield StoredLine(number, content, LineResult.model_validate_json(content))
            except ValidationError as error:
                yield StoredLine(number, content, None, first_problem(error).message)


def read_last_results(path: Path, manifest: Manifest) -> dict[int, LineResult]:
    """Return each line's last result by line_number; while the run goes on a torn last line is left out.

    Raises DatasetError where a line is damaged, and where the file is not what a run left that has ended: never are
    other lines taken for the run's.
    """
    last, digest = dict[int, LineResult](), hashlib.sha256()
    for line in stored_lines(path):
        digest.update(line.content)
        if not line.content.endswith(b"\n"):
            break
        if line.result is None:
            again = _RUNS_AGAIN.format("its line")
            raise DatasetError(f"{path}:{line.number}: is damaged: {line.problem}; {again}")
        last[line.result.line_number] = line.result
    if manifest.results_sha256 is None:
        return last
    if manifest.results_sha256 != digest.hexdigest():
        lacking = _lacking(manifest, len(last))
        remedy = _RUNS_AGAIN.format(f"the {lacking:,} that it lacks") if lacking > 0 else "put it back, or --fresh"
        raise DatasetError(f"{path}: has changed since run {manifest.name} ended: {remedy}")
    completed = sum(result.status == "Completed" for result in last.values())
    if (completed, len(last)) != (manifest.counts.completed, manifest.counts.completed + manifest.counts.failed):
        raise DatasetError(
            f"{path.with_name('manifest.json')}: its counts are not those of {path.name}, where {completed:,} of "
            f"{len(last):,} lines completed: put it back, or run it with --fresh"
        )
    return last


def find_first_failure(path: Path) -> LineResult | None:
    """Return the result of the first line that failed at last; without holding the answers of those that did not."""
    failed = dict[int, LineResult]()
    for result in (line.result for line in stored_lines(path)):
        if result is not None and result.status == "Failed":
            failed[result.line_number] = result
        elif result is not None:
            failed.pop(result.line_number, None)
    return failed[min(failed)] if failed else None


def mend_results(path: Path, before: Manifest, lines: int) -> Iterator[LineResult]:
    """Make the file one that can be appended to, and yield its results, in the order of writing.

    A torn tail is cut off. Lines that are damaged, or are none of the run's ``lines``, are set aside in the end: they
    run again, as do those that a run lacks that has ended. Raises ResumeMismatchError where the file of such a run is
    whole, and another.
    """
    has_changed = before.results_sha256 is not None and path.is_file() and file_sha256(path) != before.results_sha256
    repair_tail(path)
    damaged, numbers = list[StoredLine](), set[int]()
    for line in stored_lines(path):
        if line.result is None:
            damaged.append(line)
        elif line.result.line_number >= lines:
            problem = f"line_number {line.result.line_number:,}: there is no such line"
            damaged.append(StoredLine(line.number, line.content, None, problem))
        else:
            numbers.add(line.result.line_number)
            yield line.result
    if damaged:
        _set_aside(path, damaged)
    elif has_changed and _lacking(before, len(numbers)) <= 0:
        raise ResumeMismatchError(
            f"{path}: has changed since run {before.name} ended: put it back, give it another --name, or --fresh"
        )


def _set_aside(path: Path, damaged: Sequence[StoredLine]) -> None:
    aside, numbers = path.with_name(DAMAGED_FILE), {line.number for line in damaged}
    before = [aside.read_bytes()] if aside.is_file() else []
    kept = (line.content for line in stored_lines(path) if line.number not in numbers)
    write_files({aside: [*before, *(line.content for line in damaged)], path: kept})
    more = f" and {len(damaged) - 1:,} more" if len(damaged) > 1 else ""
    _LOG.warning(
        "warning: %s:%d%s: damaged (%s): set aside in %s; the lines run again",
        *(path, damaged[0].number, more, damaged[0].problem, aside.name),
    )


def _lacking(manifest: Manifest, have: int) -> int:
    return manifest.counts.completed + manifest.counts.failed - have
