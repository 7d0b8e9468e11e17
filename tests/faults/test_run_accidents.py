"""Accidents to a run's folder: files cut, swapped, deleted, edited. No verb reports a wrong number after one.

Each verb is right, or refuses and names the way out; the same batch-run command mends what it can, or refuses.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import Done, phi3flow
from tests.support.flows.foreign_flows import write_flow, write_lines
from tests.support.paths import ROOT

LINES = 12
ANSWERS = """
from promptflow.core import tool

@tool
def ask(question: str) -> str:
    number = int(question[1:])
    if number == 7:
        raise ValueError("no answer")
    return question.upper() if number % 3 != WRONG else "wrong"
"""
SCORES = "scores/answer_match/scores.jsonl"
METRICS = "scores/answer_match/metrics.json"
Accident = Callable[[Path, Path], None]


def _edit(change: Callable[[list[bytes]], list[bytes]]) -> Accident:
    def apply(file: Path, _: Path) -> None:
        file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))

    return apply


def _replace(old: bytes, new: bytes) -> Accident:
    def apply(file: Path, _: Path) -> None:
        content = file.read_bytes()
        assert old in content, file
        file.write_bytes(content.replace(old, new, 1))

    return apply


def _cut(share: float) -> Accident:
    def apply(file: Path, _: Path) -> None:
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])

    return apply


def _renumbered(line: bytes, digits: bytes) -> bytes:
    return line.replace(b'"line_number":', b'"line_number":' + digits)


def _swap(file: Path, other: Path) -> None:
    shutil.copyfile(other, file)


ANY: dict[str, Accident] = {
    "deleted": lambda file, _: file.unlink(),
    "emptied": lambda file, _: file.write_bytes(b""),
    "cut by a byte": lambda file, _: file.write_bytes(file.read_bytes()[:-1]),
    "cut to a third": _cut(0.34),
    "cut to nine tenths": _cut(0.9),
    "nothing but zeros": lambda file, _: file.write_bytes(bytes(len(file.read_bytes()))),
    "its end zeros": lambda file, _: file.write_bytes(file.read_bytes()[:-40] + bytes(40)),
    "another run's": _swap,
    "no UTF-8": lambda file, _: file.write_bytes(b"\xff\xfe" + file.read_bytes()),
    "nested deeply": lambda file, _: file.write_bytes(b"[" * 200_000),
    "a list": lambda file, _: file.write_bytes(b"[]\n"),
    "a folder": lambda file, _: (file.unlink(), file.mkdir())[-1],
}
LINEWISE: dict[str, Accident] = {
    "first line gone": _edit(lambda lines: lines[1:]),
    "middle line gone": _edit(lambda lines: [*lines[:5], *lines[6:]]),
    "last line gone": _edit(lambda lines: lines[:-1]),
    "half of a middle line": _edit(lambda lines: [*lines[:5], lines[5][:30] + b"\n", *lines[6:]]),
    "a middle line zeros": _edit(lambda lines: [*lines[:5], bytes(20) + b"\n", *lines[6:]]),
    "two lines in one": _edit(lambda lines: [*lines[:4], lines[4].strip() + lines[5], *lines[6:]]),
    "a line twice": _edit(lambda lines: [*lines, lines[2]]),
    "line number of 1e12": _edit(
        lambda lines: [*lines, lines[0].replace(b'"line_number":', b'"line_number":1000000000000')]
    ),
    "line number below 0": _edit(lambda lines: [*lines, _renumbered(lines[0], b"-1")]),
    "deep nesting at the end": _edit(lambda lines: [*lines, b'{"a":' * 100_000 + b"\n"]),
    "deep nesting, closed": _edit(lambda lines: [*lines, b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"\n"]),
    "text after the end": _edit(lambda lines: [*lines, b"what is this\n"]),
}
FILES = ("manifest.json", "results.jsonl", SCORES, METRICS)
CASES: list[tuple[str, str, Accident]] = [
    *((file, name, accident) for file in FILES for name, accident in ANY.items()),
    *((file, name, accident) for file in ("results.jsonl", SCORES) for name, accident in LINEWISE.items()),
    ("results.jsonl", "an answer edited", _replace(b'"answer":"Q', b'"answer":"X')),
    ("results.jsonl", "a failed line completed", _replace(b'"status":"Failed"', b'"status":"Completed"')),
    ("manifest.json", "counts edited", _replace(b'"completed": 11', b'"completed": 12')),
    ("manifest.json", "total edited", _replace(b'"failed": 1', b'"failed": 0')),
    ("manifest.json", "other data", _replace(b'"data_sha256": "', b'"data_sha256": "0')),
    ("manifest.json", "status edited", _replace(b'"status": "Completed"', b'"status": "Running"')),
    ("manifest.json", "clock back", _replace(b'"started_at": "20', b'"started_at": "19')),
    (SCORES, "a score edited", _replace(b'"exact_match":1.0', b'"exact_match":0.0')),
    (SCORES, "a score null", _replace(b'"exact_match":1.0', b'"exact_match":null')),
    (METRICS, "a mean edited", _replace(b'"mean": ', b'"mean": 0.1')),
    (METRICS, "a bound edited", _replace(b'"low": ', b'"low": 0.1')),
    *((file, "deleted", ANY["deleted"]) for file in ("flow_files.json", ".lock", "snapshot/flow.dag.yaml")),
    *((file, "emptied", ANY["emptied"]) for file in ("flow_files.json", ".lock", "snapshot/flow.dag.yaml")),
    *(
        ("tracebacks.jsonl", name, accident)
        for name, accident in ANY.items()
        if name not in ("another run's", "a folder")
    ),
    *(("logs.txt", name, ANY[name]) for name in ("deleted", "emptied", "no UTF-8", "its end zeros")),
    *(("flow_files.json", name, ANY[name]) for name in ("nested deeply", "a list", "no UTF-8", "cut to a third")),
]
QUICK = {("results.jsonl", "half of a middle line"), ("results.jsonl", "an answer edited"), (SCORES, "another run's")}


def _batch_run(folder: Path, name: str, *flags: str) -> Done:
    return phi3flow("batch-run", f"flow-{name}", "--data", "lines.jsonl", "--name", name, "--quiet", *flags, cwd=folder)


def _score(folder: Path, name: str, *flags: str) -> Done:
    return phi3flow("score", name, "--flow", "answer_match", *flags, "--quiet", cwd=folder)


RULES = ("--rule", "exact_match no worse than baseline by 0.9", "--rule", "failed <= 20%")
READING: dict[str, tuple[str, ...]] = {
    "list": ("runs", "list", "--json"),
    "show": ("runs", "show", "a", "--json"),
    "compare": ("compare", "b", "a", "--json"),
    "gate": ("gate", "a", "--baseline", "b", *RULES, "--json"),
    "report": ("report", "a", "--baseline", "b", "--output", "report.html", "--json"),
}


def _numbers(verb: str, done: Done) -> Any:
    """Return what a verb said of run a, without what differs from call to call."""
    said = json.loads(done.stdout)
    if verb == "list":
        return {run["name"]: (run["status"], run["counts"]) for run in said}
    if verb == "show":
        return said["counts"], said["metrics"]
    return {} if verb == "report" else {key: value for key, value in said.items() if key != "started_at"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return a project with two runs that are scored, and what each verb says of it."""
    folder = tmp_path_factory.mktemp("accidents") / "project"
    folder.mkdir()
    for name, wrong in (("a", 0), ("b", 1)):
        write_flow(folder / f"flow-{name}", ANSWERS.replace("WRONG", str(wrong)))
    write_lines(folder / "lines.jsonl", ({"question": f"q{n}", "ground_truth": f"Q{n}"} for n in range(LINES)))
    shutil.copytree(ROOT / "flows" / "eval" / "answer_match", folder / "answer_match")
    for name in ("a", "b"):
        assert _batch_run(folder, name).returncode == 1, "line 7 has no answer"
        assert _score(folder, name).returncode == 1
    said = {}
    for verb, command in READING.items():
        done = phi3flow(*command, cwd=folder)
        assert done.returncode in (0, 1), done.stderr
        said[verb] = done.returncode, _numbers(verb, done)
    return folder, said


@pytest.mark.parametrize(
    ("file", "name", "accident"),
    [
        pytest.param(*case, id=f"{Path(case[0]).name}-{case[1]}", marks=() if case[:2] in QUICK else pytest.mark.slow)
        for case in CASES
    ],
)
def test_no_verb_reports_a_wrong_number(whole, tmp_path, caplog, file, name, accident) -> None:
    master, right = whole
    folder = tmp_path / "project"
    shutil.copytree(master, folder)
    run = folder / ".runs" / "a"
    accident(run / file, folder / ".runs" / "b" / file)
    wrong: list[str] = []
    for verb, command in READING.items():
        done = phi3flow(*command, cwd=folder)
        _has_no_traceback(done)
        if done.returncode == 2:
            assert "phi3flow: error: " in done.stderr, done.stderr
            continue
        numbers = _numbers(verb, done)
        if verb == "list" and numbers.keys() == {"b"}:
            assert "left out" in caplog.text or not (run / "manifest.json").is_file()
            continue
        if verb == "list":  # counts are the manifest's, whatever became of the results
            continue
        if verb == "show" and numbers == (right[verb][1][0], {}):  # of no scores nothing wrong is said
            continue
        if (done.returncode, numbers) != right[verb]:
            wrong.append(verb)
    assert not wrong
    again = _batch_run(folder, "a")
    _has_no_traceback(again)
    if again.returncode == 2:
        assert any(way in again.stderr for way in ("--fresh", "put it back", "--name", "Is a directory"))
        return
    scored = _score(folder, "a")
    _has_no_traceback(scored)
    if name == "a folder":
        assert "Is a directory" in scored.stderr
        return
    assert scored.returncode == 1, scored.stderr
    for verb in ("compare", "gate", "show"):
        done = phi3flow(*READING[verb], cwd=folder)
        numbers = _numbers(verb, done)
        assert (done.returncode, _without_times(numbers)) == (right[verb][0], _without_times(right[verb][1])), verb


def _has_no_traceback(done: Done) -> None:
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 1, 2)


def _without_times(numbers: Any) -> Any:
    return json.loads(json.dumps(numbers, default=str)) if not isinstance(numbers, tuple) else numbers[1]
