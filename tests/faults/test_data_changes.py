"""Data that change while they are read or run: no answer stands under another row, and Completed is every line."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import DatasetError
from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runner import data_lines as reading
from phi3flow.runs.folder import RunFolder
from phi3flow.storage.data_files import data_sha256
from phi3flow.storage.jsonl import encode_rows, write_rows
from tests.support.flows.foreign_flows import ECHO, write_flow

LINES = 40
PADDING = "x" * 4000  # so that no buffer holds more than a few rows
Rows = list[dict[str, Any]]


def rows(prefix: str, count: int = LINES) -> Rows:
    return [{"question": f"{prefix}{number}", "padding": PADDING} for number in range(count)]


def replace_file(data: Path, content: Rows) -> None:
    write_rows(data, content)


def overwrite(data: Path, content: Rows) -> None:
    with data.open("r+b") as file:
        file.writelines(encode_rows(content))
        file.truncate()


def empty(data: Path, content: Rows) -> None:
    os.truncate(data, 0)


def cut(data: Path, content: Rows) -> None:
    os.truncate(data, data.stat().st_size // 3)


def remove(data: Path, content: Rows) -> None:
    data.unlink()


def append(data: Path, content: Rows) -> None:
    with data.open("ab") as file:
        file.writelines(encode_rows(content))


CHANGES = [replace_file, overwrite, empty, cut, remove, append]


@contextlib.contextmanager
def changed_at(monkeypatch: pytest.MonkeyPatch, moment: int, change: Callable[[], None]) -> Iterator[None]:
    """Have the data changed once so many rows were read, of however many readings."""
    read, count = reading.read_encoded, 0

    def counted(path: Path) -> Iterator[Any]:
        nonlocal count
        for item in read(path):
            if count == moment:
                change()
            count += 1
            yield item

    with monkeypatch.context() as patch:
        patch.setattr(reading, "read_encoded", counted)
        yield


def _moments(count: int) -> list[Any]:
    generator = random.Random(17)
    moments = [(CHANGES[number % len(CHANGES)], generator.randrange(2 * LINES)) for number in range(count)]
    return [pytest.param(*moment, marks=() if place < 3 else pytest.mark.slow) for place, moment in enumerate(moments)]


@pytest.mark.parametrize(("change", "moment"), _moments(50))
def test_a_run_of_data_that_change_is_of_one_of_them_or_ends_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, Rows], None], moment: int
) -> None:
    data = tmp_path / "lines.jsonl"
    before, after = rows("before "), rows("after ", LINES // 2)
    write_rows(data, before)
    sha256 = data_sha256(data)
    plan = RunPlan(load_flow(write_flow(tmp_path / "flow", ECHO)), data, tmp_path / "runs", "run")
    error = None
    with changed_at(monkeypatch, moment, lambda: change(data, after)):
        try:
            run_flow(plan, connections=dict)
        except DatasetError as raised:
            error = str(raised)
    if moment < LINES:
        reason = " cannot be read: No such file" if change is remove else ": changed while it was read: give the same"
        assert f"{data}{reason}" in str(error)
        assert not (tmp_path / "runs").exists()
    else:
        run = RunFolder(tmp_path / "runs" / "run")
        assert run.manifest.data_sha256 == sha256
        answers = {result.line_number: (result.outputs or {}).get("answer") for result in run.results()}
        assert answers == {number: before[number]["question"].upper() for number in answers}
        assert run.manifest.status == ("Failed" if error else "Completed")
        assert error or len(answers) == LINES
        assert error is None or str(data) in error
    write_rows(data, before)
    again = run_flow(plan, connections=dict)
    assert [result.inputs["question"] for result in again.results()] == [row["question"] for row in before]
    assert again.manifest.status == "Completed"
