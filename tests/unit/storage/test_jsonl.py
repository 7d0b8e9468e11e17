"""JSON Lines: what is accepted, how errors read, what a write leaves behind."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import DatasetError
from phi3flow.storage.jsonl import (
    encode_rows,
    file_sha256,
    identity,
    line_id,
    parse_row,
    read_rows,
    with_line_ids,
    write_rows,
)

_text = st.text(st.characters(exclude_categories=["Cs"]))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_rows = st.lists(st.dictionaries(_text, _json, max_size=4), max_size=5)


@given(_rows)
def test_what_was_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, rows: list[dict]) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    write_rows(path, rows)
    assert [row for _, row in read_rows(path)] == rows
    assert path.read_bytes().count(b"\n") == len(rows)


@given(st.binary())
def test_any_line_is_a_row_or_a_reason(raw: bytes) -> None:
    reason, row = None, None
    try:
        row = parse_row(raw)
    except ValueError as error:
        reason = str(error)
    assert row == json.loads(raw) if reason is None else (": " in reason and "\n" not in reason)


def test_byte_order_mark_crlf_and_blank_lines_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "windows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"a":1}\r\n\r\n  \r\n{"a":2}')
    assert list(read_rows(path)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_line_separators_inside_a_string_do_not_cut_the_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [{"text": "one\u2028two\u0085three\x0cfour"}]
    write_rows(path, rows)
    assert list(read_rows(path)) == [(1, rows[0])]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{bad", "not JSON (Expecting property name enclosed in double quotes, column 2): {bad"),
        (b"[1]", "not a JSON object: [1]"),
        (b'{"a": NaN}', 'not JSON (NaN is not JSON): {"a": NaN}'),
        (b'{"a": "\xff"}', 'not UTF-8 at byte 7: {"a": "\\xff"}'),
        (b'{"a": "\\ud800"}', 'half of a surrogate pair, no character: {"a": "\\ud800"}'),
        (b"[" * 100_000, "not JSON ("),
        (b'{"a": 1' + b"0" * 5000 + b"}", "not JSON ("),
    ],
)
def test_an_error_names_file_line_reason_and_value(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n' + line + b"\n")
    with pytest.raises(DatasetError) as caught:
        list(read_rows(path))
    assert str(caught.value).startswith(f"{path}:3: {reason}")


def test_a_long_value_is_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("x" * 10_000)
    with pytest.raises(DatasetError, match="x{60}…$"):
        list(read_rows(path))


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere\.jsonl cannot be read: No such file"):
        list(read_rows(tmp_path / "nowhere.jsonl"))
    with pytest.raises(DatasetError, match="Is a directory"):
        list(read_rows(tmp_path))
    with pytest.raises(DatasetError, match="cannot be read"):
        file_sha256(tmp_path / "nowhere.jsonl")


def test_lines_are_compact_and_keep_their_characters() -> None:
    assert b"".join(encode_rows([{"a": [1, "é"], "b": "한"}])) == '{"a":[1,"é"],"b":"한"}\n'.encode()


def test_a_line_id_is_the_rows_own_or_its_content() -> None:
    assert line_id({"line_id": "mine", "a": 1}) == "mine"
    canonical = '{"a":"é","b":1}'
    assert line_id({"b": 1, "a": "é"}) == hashlib.sha256(canonical.encode()).hexdigest()
    assert line_id({"line_id": "", "a": 1}) != line_id({"a": 1})


def test_a_repeated_row_is_numbered_from_two() -> None:
    rows = [{"line_id": "x"}, {"line_id": "y"}, {"line_id": "x"}, {"line_id": "x"}]
    assert [name for name, _ in with_line_ids(rows)] == ["x", "y", "x#2", "x#3"]


@given(st.lists(st.sampled_from(["x", "x#2", "x#2#2", "x#3", "y"])))
def test_line_ids_are_unique_even_where_rows_bring_their_own_numbers(names: list[str]) -> None:
    given_ids = [name for name, _ in with_line_ids({"line_id": name} for name in names)]
    assert len(set(given_ids)) == len(names)
    assert all(given_id.startswith(name) for given_id, name in zip(given_ids, names, strict=True))


@given(st.integers(-(2**53), 2**53))
def test_a_number_names_what_its_text_names(number: int) -> None:
    assert identity(number) == identity(float(number)) == identity(str(number)) == str(number)
    assert line_id({"line_id": number, "q": 1}) == line_id({"line_id": str(number), "q": 2}) == str(number)


@pytest.mark.parametrize("value", [None, "", " \t", "\u3000", [], {}])
def test_what_names_nothing_leaves_a_line_its_own_hash(value: object) -> None:
    assert identity(value) is None
    assert len(line_id({"line_id": value})) == 64


@pytest.mark.parametrize(
    "alike",
    [
        ("c7", " c7", "c7\n", "\u00a0c7 ", "\ufeffc7", "c7\u200b"),
        ("c 7", "c\u00a07", "c  7"),
        ({"caf\u00e9": 7}, {"cafe\u0301": "7.0"}),
        ("caf\u00e9", "cafe\u0301"),
        ({"$oid": "5f"}, {"$oid": "5f"}),
        ({"a": 7, "b": [1]}, {"b": [1.0], "a": "7"}),
        ([7], [7.0], ["7"]),
        (True, "true"),
        (7, 7.0, "7", " 7 ", "7.0", "7.00"),
    ],
)
def test_what_is_the_same_is_one_name(alike: tuple[object, ...]) -> None:
    assert len({identity(value) for value in alike}) == 1
    assert identity(alike[0]) is not None


@pytest.mark.parametrize(
    "two",
    [
        (["a"], ["b"]),
        ({"a": 1}, {"a": 2}),
        ("07", "7"),
        ("C7", "c7"),
        ([1, 2], [12]),
        ("7.5", 7),
        ("1.10", "1.1"),
        ("v7.0", "v7"),
    ],
)
def test_what_differs_is_two_names(two: tuple[object, object]) -> None:
    assert identity(two[0]) != identity(two[1])


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _text, st.integers() | st.floats() | _text)
def test_two_values_are_one_name_only_where_they_read_alike(one: object, other: object) -> None:
    if identity(one) is not None and identity(one) == identity(other):
        written, read = (unicodedata.normalize("NFC", str(value).strip().removesuffix(".0")) for value in (one, other))
        assert written == read or float(written) == float(read)


@given(_json)
def test_the_same_json_is_the_same_name(value: object) -> None:
    assert identity(value) == identity(json.loads(json.dumps(value)))
