"""The flow that runs is the flow in the file: tools are given what promptflow gives them, scalar by scalar."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi3flow.flows import load_flow, open_flow
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.promptflow_record import write_snapshot
from tests.support.command_line import phi3flow
from tests.support.yaml_scalars import LOOKS

TOOL = """
from promptflow.core import tool

@tool
def tell(**values) -> list:
    return sorted((name, type(value).__name__, repr(value)) for name, value in values.items())
"""

HEAD = """
# A comment of the author's
inputs:
  question: {type: string, default: "?"}
outputs:
  told: {type: object, reference: "${tell.output}"}
nodes:
- name: tell
  type: python
  source: {type: code, path: tell.py}
  inputs:
"""

quoted = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=12).map(json.dumps)
blocks = st.lists(st.sampled_from(["a", "  b", "", "c: d", "# e"]), min_size=1, max_size=4).map(
    lambda lines: "|\n" + "\n".join(f"      {line}" if line else "" for line in ["x", *lines])
)
looks = st.sampled_from([look for look in LOOKS if look not in ("- a", "null", "Null", "~")]) | quoted | blocks


def _write(folder: Path, values: list[str], changed: str = "") -> None:
    folder.mkdir(exist_ok=True)
    rows = [f"    value_{index}: {value}" for index, value in enumerate(values)]
    (folder / "flow.dag.yaml").write_text(HEAD + "\n".join(rows) + "\n" + changed, encoding="utf-8")
    (folder / "tell.py").write_text(TOOL, encoding="utf-8")


def _theirs(folder: Path) -> Any:
    from promptflow.executor import FlowExecutor

    executor = FlowExecutor.create(folder / "flow.dag.yaml", {}, folder, raise_ex=True)
    return executor.exec_line({}, index=0).output["told"]


def _ours(folder: Path, **choice: Any) -> Any:
    with open_flow(load_flow(folder, **choice), connections=lambda name: {}) as session:
        return asyncio.run(session.exec_line({}, line_number=0)).outputs["told"]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(looks, min_size=1, max_size=6))
def test_tools_get_the_scalars_that_promptflow_gives_them(tmp_path: Path, values: list[str]) -> None:
    _write(tmp_path / "flow", values)
    ours = _ours(tmp_path / "flow")
    assert ours == _theirs(tmp_path / "flow")
    assert len(ours) == len([value for value in values if value not in ("''", '""')]), (
        "promptflow leaves out empty ones"
    )


def test_a_quoted_number_reaches_the_tool_as_it_is_written(tmp_path: Path) -> None:
    _write(tmp_path / "flow", ['"09123"', "yes", "0o17"])
    told = {name: value for name, _, value in _ours(tmp_path / "flow")}
    assert told == {"value_0": "'09123'", "value_1": "'yes'", "value_2": "15"}


ASK = """- name: ask
  type: python
  source: {type: code, path: ask.py}
  inputs: {}
"""


def test_a_condition_that_says_yes_fires_where_the_text_is_yes(tmp_path: Path) -> None:
    folder = tmp_path / "flow"
    _write(folder, ["1"], ASK)
    (folder / "ask.py").write_text("from promptflow.core import tool\n\n@tool\ndef ask(): return 'yes'\n", "utf-8")
    file = folder / "flow.dag.yaml"
    activated = "  activate: {when: '${ask.output}', is: yes}\n  inputs:\n    value_0"
    file.write_text(file.read_text(encoding="utf-8").replace("  inputs:\n    value_0", activated), encoding="utf-8")
    assert _ours(folder) == _theirs(folder) == [("value_0", "int", "1")]


VARIANTS = """node_variants:
  tell:
    default_variant_id: plain
    variants:
      plain:
        node:
          type: python
          source: {type: code, path: tell.py}
          inputs: {value_0: "01", value_1: yes}
      other:
        node:
          type: python
          source: {type: code, path: tell.py}
          inputs: {value_0: "02", value_1: 'on'}   # another
"""


@pytest.mark.parametrize(("variant", "values"), [(None, ["'01'", "'yes'"]), ("other", ["'02'", "'on'"])])
def test_a_variant_keeps_the_quotes_of_its_author(tmp_path: Path, variant: str | None, values: list[str]) -> None:
    _write(tmp_path / "flow", [])
    file = tmp_path / "flow" / "flow.dag.yaml"
    head = HEAD[: HEAD.index("- name: tell")]
    file.write_text(f"{head}- name: tell\n  use_variants: true\n{VARIANTS}", encoding="utf-8")
    assert [value for _, _, value in _ours(tmp_path / "flow", variant=variant)] == values


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_the_snapshot_holds_what_the_user_wrote(tmp_path: Path, line_end: str, mark: str) -> None:
    _write(tmp_path / "flow", ['"09123"  # quoted', "yes"])
    file = tmp_path / "flow" / "flow.dag.yaml"
    file.write_bytes((mark + file.read_text(encoding="utf-8").replace("\n", line_end)).encode())
    assert _ours(tmp_path / "flow") == _theirs(tmp_path / "flow")
    write_snapshot(tmp_path / "snapshot", load_flow(tmp_path / "flow"))
    for name in ("flow.dag.yaml", "tell.py"):
        assert (tmp_path / "snapshot" / name).read_bytes() == (tmp_path / "flow" / name).read_bytes()


def test_a_flow_may_have_no_nodes(tmp_path):
    """As under pf: its outputs are its inputs."""
    (tmp_path / "flow").mkdir()
    dag = "inputs: {q: {type: string}}\noutputs: {a: {type: string, reference: '${inputs.q}'}}\nnodes: []\n"
    (tmp_path / "flow" / "flow.dag.yaml").write_text(dag, encoding="utf-8")
    (tmp_path / "lines.jsonl").write_text('{"q": "x"}\n', encoding="utf-8")
    done = phi3flow("batch-run", "flow", "--data", "lines.jsonl", "--name", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [result.outputs for result in RunFolder(tmp_path / ".runs" / "run").results()] == [{"a": "x"}]
