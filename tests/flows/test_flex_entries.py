"""Entries of flex flows of every form: the inputs that Python sees, and the outputs of promptflow's own executor."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from phi3flow.errors import FlowError
from phi3flow.flows import load_flow, open_flow
from tests.support.flows.flex_entries import ARGUMENTS, ENTRIES, PLACES, Entry, promptflows_own

INPUTS = {
    "q, *rest, **others": {"q": False},
    "q": {"q": False},
    "q: str": {"q": False},
    "q: str, more: str = 'm'": {"q": False, "more": True},
    "q: str, *, more: int = 1": {"q": False, "more": True},
    "q: 'str', more=None": {"q": False, "more": True},
}
QUICK = ("module", "package and module", "imported as", "inherited")


def _execute(folder: Path, question: str) -> tuple[dict[str, Any], str | None]:
    """Return what our session gives for a line, or its error as promptflow writes it."""
    with open_flow(load_flow(folder), connections=dict) as session:
        try:
            line = asyncio.run(session.exec_line({"q": question}, line_number=0))
        except Exception as error:
            return {}, f"({type(error).__name__}) {error}"
    return json.loads(json.dumps(line.outputs, default=vars)), None


@pytest.mark.parametrize("count", [6, pytest.param(24, marks=pytest.mark.slow)])
@given(data=st.data())
@settings(max_examples=1, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_an_entry_of_any_form_gives_what_promptflows_executor_gives(data: st.DataObject, count: int) -> None:
    entries: list[Entry] = data.draw(st.lists(ENTRIES, min_size=count, max_size=count, unique=True))
    with tempfile.TemporaryDirectory() as temporary:
        folders = [entry.write(Path(temporary) / str(number)) for number, entry in enumerate(entries)]
        for folder, theirs in zip(folders, promptflows_own(folders, "hi"), strict=True):
            assert _execute(folder, "hi") == theirs, entries[folders.index(folder)]


@pytest.mark.parametrize("output", ["generator in a dict", "generator in a dataclass"])
def test_an_asynchronous_entrys_generators_are_joined_too(tmp_path: Path, output: str) -> None:
    folder = Entry("module", "async", output, "q", "run").write(tmp_path)
    assert _execute(folder, "hi") == ({"a": "hi", "n": 1}, None)  # promptflow leaves an object there


@pytest.mark.parametrize(("name", "failure"), [("run", "(ValueError) hi"), ("Run", "(KeyError) 'hi'")])
def test_a_generator_that_fails_is_a_failure(tmp_path: Path, name: str, failure: str) -> None:
    folder = Entry("module", "failing", "text", "q", name).write(tmp_path)
    assert _execute(folder, "hi") == ({}, failure)  # promptflow waits for ever for an asynchronous one


@pytest.mark.parametrize(
    "place", [pytest.param(place, marks=() if place in QUICK else pytest.mark.slow) for place in PLACES]
)
@pytest.mark.parametrize("name", ["Run", pytest.param("run", marks=pytest.mark.slow)])
def test_the_inputs_are_the_entrys_wherever_it_is_defined(tmp_path: Path, place: str, name: str) -> None:
    for number, arguments in enumerate(ARGUMENTS if place == "module" else ARGUMENTS[2:3]):
        for kind in ("function", "decorated") if place == "module" else ("decorated",):
            folder = Entry(place, kind, "text", arguments, name).write(tmp_path / f"{number}{kind}")
            inputs = load_flow(folder).inputs
            assert {name: declared.has_default for name, declared in inputs.items()} == INPUTS[arguments]


def test_a_module_that_prints_or_cannot_be_imported_is_told_of(tmp_path: Path) -> None:
    entry = Entry("imported", "function", "text", "q", "run").write(tmp_path)
    lib = tmp_path / "lib.py"
    code = lib.read_text(encoding="utf-8")
    lib.write_text(f"import os\nprint('noise')\nassert os.environ['KEY'] == 'v'\n{code}", encoding="utf-8")
    (tmp_path / "flow.flex.yaml").write_text("entry: entry:run\nenvironment_variables: {KEY: v}\n", encoding="utf-8")
    assert list(load_flow(entry).inputs) == ["q"]
    lib.write_text("import gone_for_good\n", encoding="utf-8")
    with pytest.raises(FlowError, match=r"flow\.flex\.yaml: entry entry:run: .*No module named 'gone_for_good'"):
        load_flow(entry)
    lib.write_text("import os\nos._exit(3)\n", encoding="utf-8")
    with pytest.raises(FlowError, match=r"importing entry ended Python \(exit code 3\)"):
        load_flow(entry)


def test_a_sample_is_no_data(tmp_path: Path) -> None:
    Entry("module", "function", "text", "q='own default'", "run").write(tmp_path)
    (tmp_path / "flow.flex.yaml").write_text("entry: entry:run\nsample: {inputs: {q: sample}}\n", encoding="utf-8")
    with open_flow(load_flow(tmp_path), connections=dict) as session:
        line = asyncio.run(session.exec_line({}, line_number=0))
    assert line.outputs == {"output": "OWN DEFAULT"}


@pytest.mark.parametrize("name", ["run", "Run"])
@pytest.mark.parametrize("annotation", ["", ": str", ": Optional[int]", ": dict", ": list"])
def test_a_default_of_none_is_none_as_under_pf(tmp_path: Path, annotation: str, name: str) -> None:
    Entry("module", "function", "text", f"q: str, s{annotation} = None, e: str = ''", name).write(tmp_path)
    file = tmp_path / "entry.py"
    code = file.read_text(encoding="utf-8").replace("q.upper()", "repr((q, s, e))")
    file.write_text(f"from typing import Optional\n{code}", encoding="utf-8")
    assert _execute(tmp_path, "hi") == ({"output": "('hi', None, '')"}, None)


def test_values_get_the_types_of_the_signature_as_under_pf(tmp_path: Path) -> None:
    arguments = "q: str, n: int = 3, x: float = 1, b: bool = True, l: list = None"
    Entry("module", "function", "text", arguments, "run").write(tmp_path)
    file = tmp_path / "entry.py"
    file.write_text(file.read_text().replace("q.upper()", "repr((q, n, x, b, l))"), encoding="utf-8")
    inputs = {"q": 5, "n": "7", "x": "1.5", "b": "false", "l": "[1]"}
    with open_flow(load_flow(tmp_path), connections=dict) as session:
        line = asyncio.run(session.exec_line(inputs, line_number=0))
    assert line.outputs == {"output": "('5', 7, 1.5, False, '[1]')"}  # pf reads no text where the default is None


@pytest.mark.parametrize("name", ["flow.dag.yml", "flow.flex.yml", "my_flow.yaml"])
def test_a_flows_file_may_have_another_name(tmp_path: Path, name: str) -> None:
    Entry("module", "function", "text", "q", "run").write(tmp_path)
    (tmp_path / "flow.flex.yaml").rename(tmp_path / name)
    flow = load_flow(tmp_path / name if name == "my_flow.yaml" else tmp_path)
    assert (flow.file, flow.is_flex) == (name, True)
    with open_flow(flow, connections=dict) as session:
        assert asyncio.run(session.exec_line({"q": "hi"}, line_number=0)).outputs == {"output": "HI"}


def test_two_files_of_a_flow_are_not_chosen_between(tmp_path: Path) -> None:
    Entry("module", "function", "text", "q", "run").write(tmp_path)
    (tmp_path / "flow.dag.yaml").write_text("nodes: []\n", encoding="utf-8")
    with pytest.raises(FlowError, match=r"has flow\.dag\.yaml and flow\.flex\.yaml: name the file that is meant"):
        load_flow(tmp_path)
