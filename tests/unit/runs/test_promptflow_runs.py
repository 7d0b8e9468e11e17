"""Runs of pf's: which are taken over and how, and what is said of those that cannot be."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path
from typing import Any

import pandas
import pytest

from phi3flow.errors import ConfigError, DatasetError
from phi3flow.records.lines import LineError, Usage
from phi3flow.runs.promptflow_runs import is_read_as_date, open_run
from phi3flow.storage.jsonl import with_line_ids, write_rows
from tests.support.folders.answered_runs import make_run

ROWS: list[dict[str, Any]] = [{"q": "one", "n": 1}, {"q": "two", "n": 2}, {"q": "two", "n": 2}]
COLUMNS = ("name", "status", "created_on", "start_time", "end_time", "data", "properties")


class Store:
    """promptflow's store in a home of its own, with as much of it as phi3flow reads (schema 4 of run_info)."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.home = home
        self.data = home.parent / "data.jsonl"
        self.flow = home.parent / "flows" / "f"
        write_rows(self.data, ROWS)
        with sqlite3.connect(home / "pf.sqlite") as connection:
            connection.execute(f"CREATE TABLE run_info ({', '.join(COLUMNS)})")

    def add(self, name: str = "theirs", *, status: str = "Completed", second: dict[str, Any] | None = None) -> Path:
        """List a run over the store's data, with its three lines on disk; ``second`` is what is odd of the second."""
        folder = self.home / ".runs" / name
        (folder / "snapshot").mkdir(parents=True)
        (folder / "flow_artifacts").mkdir()
        for number, row in enumerate(ROWS):
            record = {
                "line_number": number,
                "run_info": {**_line(number, row), **((second or {}) if number == 1 else {})},
            }
            file = folder / "flow_artifacts" / f"{number:09d}_{number:09d}.jsonl"
            file.write_text(json.dumps(record), encoding="utf-8")
        self.list(name, folder, status=status, data=str(self.data))
        return folder

    def list(
        self, name: str, folder: Path, *, status: str = "Completed", data: str | None = None, flow: Path | None = None
    ) -> None:
        """List a run; nothing is written for it. Its ``flow`` lies beside the store, by default."""
        mapping = {"question": "${data.q}", "number": "${data.n}", "style": "short"}
        properties = {"output_path": str(folder), "flow_path": str(flow or self.flow), "column_mapping": mapping}
        times = [f"2026-01-01T00:00:{second:02d}+02:00" for second in (0, 1, 9)]
        with sqlite3.connect(self.home / "pf.sqlite") as connection:
            values = (name, status, *times, data, json.dumps(properties))
            connection.execute("INSERT INTO run_info VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def _line(number: int, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": "Completed",
        "inputs": {"question": row["q"], "number": row["n"], "style": "short", "line_number": number},
        "output": {"answer": row["q"].upper()},
        "error": None,
        "start_time": "2026-01-01T00:00:01.500000Z",
        "end_time": "2026-01-01T00:00:01.750000Z",
        "system_metrics": {"duration": 0.25, "prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(tmp_path / "pf"))
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "pf")


def test_a_run_of_pf_becomes_a_run_folder_whose_lines_are_named_by_its_data(store: Store) -> None:
    folder = store.add()
    run = open_run("theirs")
    assert (run.path, run.manifest.status, run.manifest.duration_s) == (folder, "Completed", 8.0)
    assert (run.manifest.counts.total, run.manifest.counts.completed, run.manifest.counts.failed) == (3, 3, 0)
    assert [line.line_id for line in run.results()] == [line_id for line_id, _ in with_line_ids(ROWS)]
    first = run.results()[0]
    assert first.inputs == {"question": "one", "number": 1, "style": "short"}
    assert (first.outputs, first.latency_ms) == ({"answer": "ONE"}, 250.0)
    assert first.usage == Usage(prompt_tokens=7, completion_tokens=2)
    assert run.data_rows() == ROWS


def test_a_run_of_pf_is_found_by_name_and_by_path(store: Store) -> None:
    folder = store.add()
    for reference in ("theirs", "pf/.runs/theirs", str(folder)):
        (folder / "manifest.json").unlink(missing_ok=True)
        assert open_run(reference).path == folder
    (folder / "manifest.json").unlink()
    assert open_run("theirs", folder.parent).path == folder


def test_our_own_run_of_a_name_comes_before_that_of_pf(store: Store, tmp_path: Path) -> None:
    store.add("both")
    ours = make_run(tmp_path / ".runs", "both", ROWS, ["a", "b", "c"])
    assert open_run("both", tmp_path / ".runs").path == ours.path


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (
            "Failed",
            {
                "message": "Execution failure in 'chat': (EndpointError) HTTP 400",
                "code": "UserError",
                "innerError": {"code": "ToolExecutionError", "innerError": None},
                "additionalInfo": [
                    {"type": "ToolExecutionErrorDetails", "info": {"type": "EndpointError", "message": "HTTP 400"}}
                ],
            },
            LineError(type="EndpointError", message="HTTP 400"),
        ),
        (
            "Failed",
            {"message": "Line 1 timed out", "code": "UserError", "innerError": {"code": "LineExecutionTimeoutError"}},
            LineError(type="LineExecutionTimeoutError", message="Line 1 timed out"),
        ),
        ("Canceled", None, LineError(type="Canceled", message="promptflow ended the line as Canceled")),
    ],
    ids=["raised by the tool", "raised by promptflow", "canceled"],
)
def test_a_line_that_did_not_complete_failed_with_its_error(
    store: Store, status: str, error: dict[str, Any] | None, expected: LineError
) -> None:
    store.add(second={"status": status, "error": error, "output": None})
    run = open_run("theirs")
    assert [line.status for line in run.results()] == ["Completed", "Failed", "Completed"]
    assert run.results()[1].error == expected
    assert run.manifest.counts.failed == 1


@pytest.mark.parametrize("metrics", [None, {"duration": 0.25, "prompt_tokens": 0, "completion_tokens": 0}])
def test_tokens_that_promptflow_did_not_count_are_not_zero(store: Store, metrics: dict[str, Any] | None) -> None:
    store.add(second={"system_metrics": metrics})
    second = open_run("theirs").results()[1]
    assert (second.usage, second.latency_ms) == (None, 250.0)


def test_a_run_of_another_project_is_named_as_such_and_not_written_into(store: Store, tmp_path: Path) -> None:
    folder = store.add("mine")
    store.list("other", folder, data=str(store.data), flow=tmp_path.parent / "elsewhere" / "flow")
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match=r"there is no run 'other' in .*another project, of the flow .*elsewhere"):
        open_run("other")
    assert sorted(folder.rglob("*")) == before
    assert open_run(str(folder)).name == "mine"


def test_a_column_that_a_line_lacks_is_null_as_pandas_cannot_say(store: Store) -> None:
    store.add(second={"inputs": {"question": "two", "number": float("nan")}})
    assert open_run("theirs").results()[1].inputs == {"question": "two", "number": None}


def test_data_that_changes_later_is_noticed(store: Store) -> None:
    store.add()
    open_run("theirs")
    write_rows(store.data, [*ROWS, {"q": "four", "n": 4}])
    with pytest.raises(DatasetError, match="has changed since run theirs was made"):
        open_run("theirs").data_rows()


def test_data_that_has_changed_before_is_refused(store: Store) -> None:
    folder = store.add()
    write_rows(store.data, [ROWS[0], {"q": "zwei", "n": 2}, ROWS[2]])
    with pytest.raises(DatasetError, match="data.jsonl: has changed .*: q of line 1 was 'two', is 'zwei'; put it back"):
        open_run("theirs")
    write_rows(store.data, ROWS[:2])
    with pytest.raises(DatasetError, match="it has 2 lines, but the run answered line 2 "):
        open_run("theirs")
    assert not (folder / "manifest.json").exists()
    assert not (folder / "results.jsonl").exists()


DATES = ["date", "datetime", "DateTime", "modified", "timestamp", "Timestamp_utc", "created_at", "end_time"]


@pytest.mark.parametrize("column", [*DATES, "question", "dates", "my_date", "time", "at", "modified_by"])
def test_the_columns_that_are_read_as_dates_are_those_of_pandas(column: str) -> None:
    values = pandas.read_json(io.StringIO(json.dumps({column: "2024-01-01"}) + "\n"), lines=True)[column]
    assert is_read_as_date(column) == pandas.api.types.is_datetime64_any_dtype(values)


def test_a_run_that_has_not_ended_is_refused(store: Store) -> None:
    store.add(status="Running")
    with pytest.raises(ConfigError, match="theirs is Running in `pf`: wait .* --resume-from theirs --name NEW"):
        open_run("theirs")


def test_a_run_without_its_data_is_refused(store: Store) -> None:
    store.list("bare", store.add("kept"))
    with pytest.raises(DatasetError, match="bare: `pf` knows no data file of it.*pf run create --data FILE"):
        open_run("bare")
    store.data.unlink()
    with pytest.raises(DatasetError, match=r"data.jsonl: is not a file \(any more\), but the data of run kept"):
        open_run("kept")


def test_a_run_that_pf_does_not_list_is_refused_by_its_path_and_unknown_by_its_name(store: Store) -> None:
    store.add().rename(store.home / "copied")
    with pytest.raises(ConfigError, match="copied: is a run of promptflow, but not one that `pf` lists here"):
        open_run("pf/copied")
    with pytest.raises(ConfigError, match="theirs: `pf` lists it, but its folder .* is not there any more"):
        open_run("theirs")
    with pytest.raises(ConfigError, match="there is no run 'unknown'"):
        open_run("unknown")


def test_a_damaged_record_is_named_with_file_and_line(store: Store) -> None:
    store.add(second={"status": "Done"})
    with pytest.raises(DatasetError, match=r"000000001_000000001.jsonl:1: run_info.status: .*: Done"):
        open_run("theirs")


def test_a_store_of_another_make_is_named(store: Store) -> None:
    (store.home / "pf.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 9)
    with pytest.raises(ConfigError, match="pf.sqlite: run theirs cannot be read: file is not a database"):
        open_run("theirs")


SNAPSHOT = """
inputs:
  question: {type: string, default: "Who founded Microsoft?", is_chat_input: true}
  style: {type: string, default: long}
outputs: {answer: {type: string, reference: "${ask.output}"}}
nodes: [{name: ask, type: python, source: {type: code, path: ask.py}, inputs: {question: "${inputs.question}"}}]
"""


def test_a_run_whose_lines_all_asked_the_default_is_refused_with_the_mapping_to_type(store: Store) -> None:
    folder = store.add()
    (folder / "snapshot" / "flow.dag.yaml").write_text(SNAPSHOT, encoding="utf-8")
    assert open_run("theirs").manifest.counts.completed == 3, "its mapping names the question"
    (folder / "manifest.json").unlink()
    with sqlite3.connect(store.home / "pf.sqlite") as connection:
        connection.execute("UPDATE run_info SET properties = ?", [json.dumps({"output_path": str(folder)})])
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"'Who founded Microsoft\?'.*--column-mapping question='\$\{data.COLUMN"):
            open_run("theirs")


@pytest.mark.parametrize("row", [{"q": None, "n": 2}, {"n": 2}])
def test_a_line_that_promptflow_asked_none_or_nan_has_failed(store: Store, row: dict[str, Any]) -> None:
    folder = store.add(second={"inputs": {"question": "nan", "number": 2, "style": "short"}})
    (folder / "snapshot" / "flow.dag.yaml").write_text(SNAPSHOT, encoding="utf-8")
    write_rows(store.data, [ROWS[0], row, ROWS[2]])
    run = open_run("theirs")
    error = LineError(type="ColumnMappingError", message="question is null in this line (${data.q})")
    assert [result.error for result in run.results()] == [None, error, None]
    assert (run.manifest.counts.completed, run.manifest.counts.failed) == (2, 1)
