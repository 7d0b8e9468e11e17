"""Which files are a flow's, and so its fingerprint."""

from __future__ import annotations

from pathlib import Path

import pytest

from phi3flow.flows import fingerprint
from tests.support.flows.foreign_flows import ECHO, write_flow


@pytest.mark.parametrize(
    "name",
    ["process_log/process_stderr_0.log", ".promptflow/flow.tools.json", "__pycache__/ask.pyc", ".env", ".env.local"],
)
def test_what_tools_leave_behind_is_not_the_flows(tmp_path: Path, name: str) -> None:
    flow = write_flow(tmp_path / "flow", ECHO)
    before = fingerprint(flow)
    (flow / name).parent.mkdir(exist_ok=True)
    (flow / name).write_text("left behind", encoding="utf-8")
    assert fingerprint(flow) == before


def test_another_file_and_another_name_change_the_fingerprint(tmp_path: Path) -> None:
    flow = write_flow(tmp_path / "flow", ECHO)
    found = [fingerprint(flow)]
    (flow / "prompt.jinja2").write_text("Answer: {{ question }}", encoding="utf-8")
    found.append(fingerprint(flow))
    (flow / "prompt.jinja2").rename(flow / "other.jinja2")
    found.append(fingerprint(flow))
    assert len(set(found)) == 3
