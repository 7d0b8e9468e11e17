"""gate.json: what a gate leaves with the run for whoever publishes its flow."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from phi3flow.records.gates import GateRecord
from phi3flow.runs.folder import RunFolder
from tests.support.command_line import Done, phi3flow
from tests.support.folders.run_folders import line, write_run

ROWS = [{"question": f"q{number}"} for number in range(100)]
FIELDS = [
    "schema_version",
    "run",
    "baseline",
    "rules",
    "outcomes",
    "passed",
    "flow_fingerprint",
    "variant",
    "connections",
    "data_sha256",
    "metrics",
]
PASSED, FAILED, UNDECIDED = "f1 >= 0.5", "f1 >= 0.9", "f1 >= 0.6"
NO_WORSE = "answer_match.f1 no worse than baseline by 0.1"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two scored runs of 100 lines, base and tuned, whose f1 is 0.6."""
    results = [line(number, "x") for number in range(100)]
    for name in ("base", "tuned"):
        scores = {"answer_match": {"f1": [0.5, 0.7] * 50, "bleu": [30.0, 40.0] * 50}}
        connections = {"chat.connection": {"name": "phi3_endpoint", "host": "example.com"}}
        write_run(
            tmp_path / ".runs" / name,
            results,
            rows=ROWS,
            scores=scores,
            variant="${chat.few_shot}",
            connections=connections,
        )
    return tmp_path


def _gate(project: Path, *rules: str, arguments: Sequence[str] = ()) -> Done:
    return phi3flow("gate", "tuned", *(word for rule in rules for word in ("--rule", rule)), *arguments, cwd=project)


def _record(project: Path) -> GateRecord:
    return GateRecord.model_validate_json((project / ".runs/tuned/gate.json").read_bytes())


def test_it_has_the_documented_fields_and_what_the_run_was_made_of(project):
    done = _gate(project, PASSED, "lines >= 100", NO_WORSE, arguments=["--baseline", "base"])
    assert done.returncode == 0, done.stderr
    written = json.loads((project / ".runs/tuned/gate.json").read_bytes())
    assert list(written) == FIELDS
    run = RunFolder(project / ".runs/tuned")
    record, manifest = _record(project), run.manifest
    assert (record.run, record.baseline, record.passed) == ("tuned", "base", True)
    assert record.rules == [PASSED, "lines >= 100", NO_WORSE]
    assert record.outcomes == ["passed"] * 3
    assert record.schema_version == manifest.schema_version
    assert (record.flow_fingerprint, record.data_sha256) == (manifest.flow_fingerprint, manifest.data_sha256)
    assert (record.variant, record.connections) == ("${chat.few_shot}", manifest.connections)
    assert record.metrics == {"answer_match.f1": run.metrics("answer_match").metrics["f1"]}


@pytest.mark.parametrize(
    ("rules", "arguments", "code", "outcomes"),
    [
        ([PASSED], [], 0, ["passed"]),
        ([PASSED, FAILED], [], 1, ["passed", "failed"]),
        ([UNDECIDED], [], 1, ["undecided"]),
        ([PASSED, UNDECIDED], ["--undecided", "pass"], 0, ["passed", "undecided"]),
        (["lines >= 100"], [], 0, ["passed"]),
    ],
)
def test_it_is_left_whatever_the_outcome_and_undecided_is_not_passed(project, rules, arguments, code, outcomes):
    assert _gate(project, *rules, arguments=arguments).returncode == code
    record = _record(project)
    assert (record.outcomes, record.passed) == (outcomes, set(outcomes) == {"passed"})
    assert set(record.metrics) == ({"answer_match.f1"} if "f1" in rules[0] else set())


def test_output_writes_it_to_a_file_too_and_the_last_gate_is_the_one_that_is_kept(project):
    _gate(project, PASSED, arguments=["--output", "out/first.json"])
    _gate(project, FAILED)
    kept = (project / "out/first.json").read_bytes()
    assert GateRecord.model_validate_json(kept).rules == [PASSED]
    assert _record(project).rules == [FAILED]
    assert [path.name for path in (project / ".runs/tuned").glob("*gate*")] == ["gate.json"]


def test_a_gate_that_cannot_be_decided_leaves_the_last_one_as_it_was(project):
    _gate(project, PASSED)
    before = (project / ".runs/tuned/gate.json").read_bytes()
    assert _gate(project, "f2 >= 0.5", arguments=["--output", "gate.json"]).returncode == 2
    assert (project / ".runs/tuned/gate.json").read_bytes() == before
    assert not (project / "gate.json").exists()


@pytest.mark.parametrize(("rule", "code"), [(PASSED, 0), (FAILED, 1)])
def test_a_run_folder_that_cannot_be_written_changes_no_outcome(project, rule, code):
    (project / ".runs/tuned/gate.json").mkdir()
    done = _gate(project, rule, arguments=["--json", "--output", "gate.json"])
    assert (done.returncode, json.loads(done.stdout)["rules"][0]["rule"]) == (code, rule)
    assert f"{project / '.runs/tuned/gate.json'} cannot be written" in done.stderr
    assert "The outcome stands" in done.stderr
    assert GateRecord.model_validate_json((project / "gate.json").read_bytes()).rules == [rule]


@pytest.mark.parametrize("flag", ["--output", "--markdown", "--junit"])
def test_a_named_file_that_cannot_be_written_is_an_error_after_the_outcome_was_said(project, flag):
    (project / "taken").mkdir()
    done = _gate(project, PASSED, arguments=[flag, "taken"])
    assert done.returncode == 2
    assert done.stdout.startswith("Gate passed: tuned")
    assert "taken cannot be written" in done.stderr


def test_names_from_elsewhere_are_data_in_it(project):
    folder = project / ".runs/a\x1bb\u202e"
    shutil.copytree(project / ".runs/tuned", folder)
    phi3flow("gate", folder.name, "--rule", PASSED, cwd=project)
    text = (folder / "gate.json").read_text("utf-8")
    assert "\x1b" not in text
    assert json.loads(text)["run"] == folder.name
