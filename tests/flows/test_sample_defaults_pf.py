"""What `pf` asks where the data has no question, and what becomes of such a run here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from phi3flow.errors import ConfigError
from phi3flow.runs.promptflow_runs import open_run
from tests.flows.test_sample_defaults import ASK, CHAT
from tests.support.flows.foreign_flows import write_flow, write_lines


def _pf(folder: Path, name: str, *flags: str) -> None:
    pf = str(Path(sys.executable).with_name("pf"))
    command = [pf, "run", "create", "--flow", "flow", "--data", "lines.jsonl", "--name", name, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_what_pf_asked_in_place_of_a_question_is_no_answer(tmp_path: Path, own_home: Path) -> None:
    rows: list[dict[str, Any]] = [{"question": "q0"}, {"question": None}, {"note": "n"}, {"question": ""}]
    write_lines(tmp_path / "lines.jsonl", rows)
    (write_flow(tmp_path / "flow", ASK) / "flow.dag.yaml").write_text(CHAT, encoding="utf-8")
    _pf(tmp_path, "unmapped")
    outputs = own_home / ".promptflow" / ".runs" / "unmapped" / "flow_outputs" / "output.jsonl"
    assert outputs.read_text(encoding="utf-8").count("Who founded Microsoft?") == len(rows)
    with pytest.raises(ConfigError, match="asked every line the default of 'question'"):
        open_run("unmapped", tmp_path)
    _pf(tmp_path, "mapped", "--column-mapping", "question=${data.question}")
    results = open_run("mapped", tmp_path).results()
    assert [(result.outputs or {}).get("answer") for result in results] == ["q0", None, None, ""]
