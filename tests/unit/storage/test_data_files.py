"""The user's data in every form: the rows of its JSON Lines, its places, and how errors read."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from phi3flow.errors import DatasetError
from phi3flow.storage.data_files import Place, check_data, data_files, data_sha256, read_data, read_encoded
from tests.support.data_forms import FORMS, write_csv, write_form

ROWS = [
    {"id": "007", "question": 'Who said "hi", then\nleft; and why?', "ground_truth": "Ana\tLópez"},
    {"id": "NA", "question": "가나다 🙂", "ground_truth": None},
    {"id": "1e5", "question": " spaces ", "ground_truth": "2024-01-02"},
]


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in read_data(path)]


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_rows_of_its_json_lines(tmp_path: Path, name: str) -> None:
    path = write_form(tmp_path / name, ROWS)
    assert rows_of(path) == ROWS
    encoded = list(read_encoded(path))
    assert [json.loads(raw) for _, raw in encoded] == ROWS
    assert [place for place, _ in encoded] == [place for place, _ in read_data(path)]
    assert all(place.file == path for place, _ in encoded)


@pytest.mark.parametrize(
    "dialect",
    [
        {"encoding": "utf-8-sig"},
        {"delimiter": ";", "encoding": "utf-8-sig"},
        {"delimiter": "\t"},
        {"lineterminator": "\n"},
        {"quoting": csv.QUOTE_ALL, "delimiter": ";"},
    ],
    ids=str,
)
def test_csv_as_spreadsheets_write_it(tmp_path: Path, dialect: dict[str, Any]) -> None:
    assert rows_of(write_csv(tmp_path / "a.csv", ROWS, **dialect)) == ROWS


def test_excels_word_for_its_separator_and_the_line_ends_of_old_macs(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfsep=;\r\nq;a\r\n1,5;2\r\n")
    assert list(read_data(path)) == [(Place(path, 3), {"q": "1,5", "a": "2"})]
    path.write_bytes(b"q,a\r1,2\r3,4\r")
    assert list(read_data(path)) == [(Place(path, 2), {"q": "1", "a": "2"}), (Place(path, 3), {"q": "3", "a": "4"})]


def test_the_separator_is_what_parts_the_names_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    for header, names in {
        '\n \n"the\nquestion, as asked";a;b': ["the\nquestion, as asked", "a", "b"],
        '"a;b;c",d': ["a;b;c", "d"],
        "q (yes; or, no),a": ["q (yes; or", " no)", "a"],
        "only": ["only"],
    }.items():
        separator = ";" if names[-1] == "b" else ","
        path.write_text(f"{header}\n{separator.join('1' for _ in names)}\n")
        assert rows_of(path) == [dict.fromkeys(names, "1")]


def test_a_place_is_the_line_on_which_the_row_begins(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'"the\nquestion",a\n"x\r\ny",1\n\n  \nz,2\n')
    assert [str(place) for place, _ in read_data(path)] == [f"{path}:3", f"{path}:7"]
    path = tmp_path / "a.json"
    path.write_text('\n[{"q":\n1}\n,\n\n{"q": "a\\nb"}, {}]')
    assert [place.line for place, _ in read_data(path)] == [2, 6, 6]


def test_what_a_form_is_not_is_named_with_its_line(tmp_path: Path) -> None:
    for name, content, said in REFUSED:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(DatasetError) as caught:
            list(read_data(path))
        assert str(caught.value).startswith(f"{path}{said}"), str(caught.value)


REFUSED = [
    ("twice.csv", b"q,a,q\n1,2,3\n", ":1: two columns have the name 'q': rename one"),
    ("twice.tsv", b"\nq\tq\n", ":2: two columns have the name 'q': rename one"),
    ("nameless.csv", b"q,,a\n1,2,3\n", ":1: column 2 of 3 has no name in the header"),
    ("nameless.csv", b"q;a; \n", ":1: column 3 of 3 has no name in the header"),
    ("few.csv", b'q,a\n"1\n2",3\nonly\n', ":4: 1 cell where the header has 2 columns: only"),
    ("many.csv", b"q,a\n1,2,3\n", ":2: 3 cells where the header has 2 columns: 1,2,3"),
    ("latin.csv", b"q,a\nx,y\ncaf\xe9,1\n", ":3: not UTF-8 at byte 3: caf\\xe9,1 (save it as UTF-8"),
    ("latin.json", b'[{"q": 1},\n{"q": "\xe9"}]', ':2: not UTF-8 at byte 7: {"q": "\\xe9"}]'),
    ("wide.csv", "q,a\n1,2\n".encode("utf-16"), ":1: UTF-16, not UTF-8: save the file as UTF-8"),
    ("wide.jsonl", '{"q": 1}\n'.encode("utf-16-be").join([b"\xfe\xff", b""]), ":1: UTF-16, not UTF-8"),
    ("wide.json", '[{"q": 1}]\n'.encode("utf-16"), ":1: UTF-16, not UTF-8"),
    ("open.csv", b'q,a\n1,2\n3,"4\n5\n', ":3: not CSV: unexpected end of data"),
    ("stray.csv", b'q,a\n1,2\n3,"4"5\n', ":3: not CSV: ',' expected after '\"'"),
    ("elements.json", b'[{"q": 1},\n\n[5],\n{}]', ":3: not a JSON object: [5]"),
    ("texts.json", b'["a", "b"]', ':1: not a JSON object: "a"'),
    ("nan.json", b'[{"q": 1},\n{"q": NaN}]', ':2: not JSON (NaN is not JSON): {"q": NaN}'),
    ("object.json", b'{"rows": [{"q": 1}]}', ":1: one JSON object, not an array of them: write the rows as"),
    ("object.json", b'\n{\n"q": {"0": 1}\n}\n', ":1: one JSON object, not an array of them: write the rows as"),
    ("number.json", b"5\n", ":1: not a JSON object: 5"),
    ("cut.json", b'[{"q": 1},\n{"q": ', ":2: not JSON (Expecting value): the file ends here"),
    ("cut.json", b'[{"q": 1}\n', ":2: not JSON (a comma or ] is due): the file ends here"),
    ("comma.json", b'[{"q": 1}\n{"q": 2}]', ':2: not JSON (a comma or ] is due): {"q": 2}]'),
    ("comma.json", b'[{"q": 1},\n]', ":2: not JSON (Expecting value): ]"),
    ("inner.json", b'[{"q": 1},\n{"q":\n"a" "b"}]', ":3: not JSON (Expecting ',' delimiter): \"b\"}]"),
    ("after.json", b'[{"q": 1}]\n{"q": 2}', ':2: text after the end of the array: {"q": 2}'),
    ("deep.json", b"[" * 100_000, ":1: not JSON ("),
    ("lines.json", b'{"q": 1}\n{"q" 2}\n', ":2: not JSON (Expecting ':' delimiter, column 6)"),
    ("cut.jsonl.gz", gzip.compress(b'{"q": 1}\n' * 99)[:-9], " cannot be unpacked, it is damaged or cut short: "),
    ("cut.csv.gz", gzip.compress(b"q\n1\n")[:-4], " cannot be unpacked, it is damaged or cut short: "),
    ("none.json.gz", b'[{"q": 1}]', " cannot be unpacked, it is damaged or cut short: Not a gzipped file"),
    ("rotten.csv.gz", gzip.compress(b"q\n1\n")[:12] + b"\xff" * 20, " cannot be unpacked, it is damaged"),
    ("none.parquet", b"PAR1 and no more", " cannot be read as Parquet: "),
    ("none.parquet", b"", " cannot be read as Parquet: "),
    ("inner.csv.gz", gzip.compress(b"q,a\n\n1\n"), ":3: 1 cell where the header has 2 columns: 1"),
]


def test_a_row_that_is_none_does_not_end_the_check(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("q,a\n1\n2,3\n4,5,6\n7,8\n")
    (tmp_path / "a.json").write_text('[1, {"q": 2}, "x", {"q": 3}]')
    for name, reasons in {"a.csv": [True, False, True, False], "a.json": [True, False, True, False]}.items():
        assert [isinstance(row, ValueError) for _, row in check_data(tmp_path / name)] == reasons


def test_parquet_becomes_json(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)
    columns = {
        "number": pyarrow.array([7, None], pyarrow.int64()),
        "share": pyarrow.array([0.5, float("nan")]),
        "half": pyarrow.array(numpy.array([0.5, 1.5], numpy.float16)),
        "at": pyarrow.array([moment, None], pyarrow.timestamp("us", "UTC")),
        "at_ns": pyarrow.array([moment.replace(tzinfo=None), None], pyarrow.timestamp("ns")),
        "day": pyarrow.array([moment.date(), None]),
        "price": pyarrow.array([decimal.Decimal("12.50"), None]),
        "took": pyarrow.array([datetime.timedelta(seconds=90), None]),
        "raw": pyarrow.array(["é".encode(), None], pyarrow.binary()),
        "kind": pyarrow.array(["x", "y"]).dictionary_encode(),
        "history": pyarrow.array([[{"inputs": {"q": "a", "n": 1.0}}], []]),
        "pairs": pyarrow.array([[("a", 1)], None], pyarrow.map_(pyarrow.string(), pyarrow.int32())),
        "__index_level_0__": pyarrow.array([1, 2]),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    first, second = rows_of(tmp_path / "a.parquet")
    assert first == {
        "number": 7,
        "share": 0.5,
        "half": 0.5,
        "at": "2024-01-02T03:04:05.000678+00:00",
        "at_ns": "2024-01-02T03:04:05.000678",
        "day": "2024-01-02",
        "price": "12.50",
        "took": "0:01:30",
        "raw": "é",
        "kind": "x",
        "history": [{"inputs": {"q": "a", "n": 1.0}}],
        "pairs": [["a", 1]],
    }
    assert second == dict.fromkeys(first) | {"half": 1.5, "kind": "y", "history": []}
    assert json.loads(json.dumps(first, allow_nan=False)) == first


def test_what_json_cannot_hold_of_parquet_is_a_reason_with_its_column(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(
        pyarrow.table({"share": [1.0, float("inf"), 2.0], "image": [b"a", b"b", b"\x89PNG\xff"]}), path
    )
    assert [(place.line, str(row)) for place, row in check_data(path)][1:] == [
        (2, "share: inf is no JSON number"),
        (3, "image: 5 bytes are no text: \\x89PNG\\xff"),
    ]
    with pytest.raises(DatasetError, match=r"a\.parquet:2: share: inf is no JSON number"):
        rows_of(path)


def test_a_column_twice_in_parquet_is_refused(tmp_path: Path) -> None:
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["q", "q"])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DatasetError, match=r"a\.parquet: two columns have the name 'q': rename one"):
        rows_of(tmp_path / "a.parquet")


def test_a_folder_is_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    names = ["a/z.csv", "a.jsonl", "b.JSON", "c.parquet", "d.tsv.gz", "part-00000"]
    for number, name in enumerate(names):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        write_form(path, [{"q": f"{number}", "more": None}])
    for name in (".hidden.csv", "README.md", "_SUCCESS", "picture.png", ".cache/x.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\x89PNG" if name.endswith("png") else b"# words\n" * name.endswith("d"))
    assert [path.relative_to(tmp_path).as_posix() for path in data_files(tmp_path)] == names
    assert [row["q"] for row in rows_of(tmp_path)] == ["0", "1", "2", "3", "4", "5"]
    (tmp_path / "b.JSON").write_text('[{"q": 1},\n2]')
    with pytest.raises(DatasetError, match=rf"{tmp_path / 'b.JSON'}:2: not a JSON object: 2"):
        rows_of(tmp_path)


def test_a_folder_without_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# words")
    for read in (rows_of, data_sha256, data_files):
        with pytest.raises(DatasetError, match="the folder holds no data: no file ends in .jsonl, .json, .csv, .tsv"):
            read(tmp_path)


def test_a_folders_hash_changes_with_its_data_only(tmp_path: Path) -> None:
    write_form(tmp_path / "a.csv", ROWS)
    write_form(tmp_path / "b.jsonl", ROWS)
    before = data_sha256(tmp_path)
    (tmp_path / "notes.md").write_text("new")
    assert data_sha256(tmp_path) == before
    (tmp_path / "b.jsonl").rename(tmp_path / "c.jsonl")
    renamed = data_sha256(tmp_path)
    write_form(tmp_path / "a.csv", ROWS[:1])
    assert len({before, renamed, data_sha256(tmp_path)}) == 3


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for name in ("gone.csv", "gone.json", "gone.parquet", "gone.jsonl.gz", "gone"):
        with pytest.raises(DatasetError, match=f"{name} cannot be read: No such file or directory"):
            rows_of(tmp_path / name)


def test_a_large_table_is_never_held_in_memory(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [{"q": f"{number} {'x' * 500}"} for number in range(20_000)])
    tracemalloc.start()
    rows = sum(1 for _ in read_encoded(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert rows == 20_000
    assert peak < path.stat().st_size / 10
