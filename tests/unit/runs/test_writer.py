"""Run folders, written: append, resume, repair, refuse."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import BackendError, ConfigError, DatasetError, ResumeMismatchError
from phi3flow.records.lines import LineResult
from phi3flow.records.runs import Counts
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.results_file import stored_lines
from phi3flow.runs.writer import RunWriter
from tests.support.folders import run_records


def _completed(writer: RunWriter) -> set[int]:
    return {number for number in range(writer.counts.total) if writer.is_completed(number)}


def _append(writer: RunWriter, result: LineResult) -> None:
    content = result.model_dump_json().encode()
    completed = result.status == "Completed"
    writer.append(result.line_number, content, completed=completed, attempts=result.attempts)


def test_a_reopened_run_knows_what_is_done(tmp_path: Path) -> None:
    with RunWriter.open(tmp_path, run_records.manifest()) as writer:
        _append(writer, run_records.result(0, attempts=3))
        _append(writer, run_records.result(1, completed=False))
    with RunWriter.open(tmp_path, run_records.manifest()) as writer:
        assert _completed(writer) == {0}
        assert (writer.counts.completed, writer.counts.failed) == (1, 1)
        _append(writer, run_records.result(1))
        manifest = writer.finish("Completed", duration_s=1.0)
    assert manifest.counts == Counts(total=3, completed=2, failed=0, retries=2)
    assert [result.status for result in RunFolder(tmp_path / "run").results()] == ["Completed", "Completed"]


@given(cut=st.integers(min_value=0, max_value=400))
def test_a_torn_tail_costs_only_the_line_that_was_being_written(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("runs") / "run"
    with RunWriter.open(path.parent, run_records.manifest()) as writer:
        for number in range(2):
            _append(writer, run_records.result(number))
    content = (path / "results.jsonl").read_bytes()
    (path / "results.jsonl").write_bytes(content[: len(content) - min(cut, len(content))])
    whole = content[: len(content) - min(cut, len(content))].count(b"\n")
    with RunWriter.open(path.parent, run_records.manifest()) as writer:
        assert _completed(writer) == set(range(whole))
        for number in range(whole, 2):
            _append(writer, run_records.result(number))
    assert (path / "results.jsonl").read_bytes() == content


def test_many_results_are_kept_together_or_not_at_all(tmp_path: Path) -> None:
    def breaking() -> Iterator[LineResult]:
        yield run_records.result(1)
        raise BackendError("the answers belong to other lines")

    with RunWriter.open(tmp_path, run_records.manifest()) as writer:
        _append(writer, run_records.result(0))
        with pytest.raises(BackendError):
            writer.append_all(breaking())
        assert (_completed(writer), len(list(stored_lines(writer.path / "results.jsonl")))) == ({0}, 1)
        writer.append_all(
            [run_records.result(0, completed=False), run_records.result(1), run_records.result(2, completed=False)]
        )
        _append(writer, run_records.result(2))
        assert writer.counts == Counts(total=3, completed=3, failed=0)
    kept = [line.result.line_number for line in stored_lines(writer.path / "results.jsonl") if line.result]
    assert kept == [0, 1, 2, 2], "line 0 was completed before"


def test_damage_in_the_middle_is_named_and_not_skipped(tmp_path: Path) -> None:
    with RunWriter.open(tmp_path, run_records.manifest()) as writer:
        _append(writer, run_records.result(0))
    file = tmp_path / "run" / "results.jsonl"
    whole = file.read_bytes()
    file.write_bytes(b"\0\0\0\n" + whole)
    with pytest.raises(
        DatasetError, match=r"results\.jsonl:1: is damaged.* the batch-run command .* runs its line again"
    ):
        RunFolder(tmp_path / "run").results()
    with RunWriter.open(tmp_path, run_records.manifest()) as writer:
        assert _completed(writer) == {0}
    assert file.read_bytes() == whole
    assert (tmp_path / "run" / "results.damaged.jsonl").read_bytes() == b"\0\0\0\n"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("flow_fingerprint", "0" * 64),
        ("data_sha256", "0" * 64),
        ("column_mapping", {"question": "${data.q}"}),
        ("variant", "${a.b}"),
    ],
)
def test_a_changed_run_is_refused_unless_fresh(tmp_path: Path, field: str, value: Any) -> None:
    with RunWriter.open(tmp_path, run_records.manifest()) as writer:
        _append(writer, run_records.result(0))
    with pytest.raises(ResumeMismatchError, match=f"{field} was .*--fresh"):
        RunWriter.open(tmp_path, run_records.manifest(**{field: value}))
    with RunWriter.open(tmp_path, run_records.manifest(**{field: value}), fresh=True) as writer:
        assert _completed(writer) == set()


def test_two_writers_cannot_have_one_run(tmp_path: Path) -> None:
    with (
        RunWriter.open(tmp_path, run_records.manifest()),
        pytest.raises(ConfigError, match="is being written by another process"),
    ):
        RunWriter.open(tmp_path, run_records.manifest())
    RunWriter.open(tmp_path, run_records.manifest()).__exit__()


@pytest.mark.parametrize("name", ["", "..", "a/b", "a b", "-x", "x\n", "x" * 129])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="run name"):
        RunWriter.open(tmp_path, run_records.manifest(name))
