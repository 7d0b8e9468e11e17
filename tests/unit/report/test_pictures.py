"""Pictures in the page: those of the data and of the answers, and no other file."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.flows.test_images import PNG
from tests.support.command_line import phi3flow
from tests.support.folders.answered_runs import make_run


def _image(path: object) -> dict[str, str]:
    return {"data:image/png;path": str(path)}


def _data(page: str) -> dict[str, Any]:
    data = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert data is not None
    return json.loads(data[1])  # type: ignore[no-any-return]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A run of one line, and beside its data and its answers pictures and what only looks like them."""
    run = make_run(tmp_path / ".runs", "run", [{"question": "q", "picture": _image("x.png")}], ["a"])
    (tmp_path / "outside.png").write_bytes(PNG + b"outside")
    for folder in (run.path / "flow_outputs", Path(run.manifest.data).parent):
        folder.mkdir(exist_ok=True)
        (folder / "x.png").write_bytes(PNG)
        (folder / "page.png").write_bytes(b"<svg onload=alert(1)>")
        (folder / "large.png").write_bytes(PNG + b"0" * 1_000_000)
    (run.path / "flow_outputs" / "link.png").symlink_to(tmp_path / "outside.png")
    return tmp_path


def _report(project: Path, answer: object) -> str:
    results = project / ".runs" / "run" / "results.jsonl"
    line = json.loads(results.read_text(encoding="utf-8"))
    line |= {"outputs": {"answer": answer}, "inputs": {"question": "q", "picture": _image("x.png")}}
    results.write_text(json.dumps(line) + "\n", encoding="utf-8")
    done = phi3flow("report", "run", "--output", "r.html", cwd=project)
    assert done.returncode == 0, done.stderr
    return (project / "r.html").read_text(encoding="utf-8")


def test_pictures_of_the_data_and_of_answers_are_in_the_page_once(project: Path) -> None:
    data = _data(_report(project, ["see", _image("flow_outputs/x.png"), {"again": _image("flow_outputs/x.png")}]))
    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert data["pictures"] == [uri, uri]  # the data's, and the run's own copy
    assert data["lines"]["pictures"] == {"0": [0]}
    assert data["runs"][0]["pictures"] == {"0": [1, 1]}


@pytest.mark.parametrize(
    "path",
    [
        "../../outside.png",
        *(f"flow_outputs/{name}" for name in ("../../../outside.png", "link.png", "page.png", "large.png", "gone.png")),
        *("flow_outputs", "/etc/passwd", "x\0y", "manifest.json"),
    ],
)
def test_no_other_file_comes_into_the_page(project: Path, path: str) -> None:
    data = _data(_report(project, [_image(path), _image(project / "outside.png")]))
    assert data["runs"][0]["pictures"] == {}
    assert len(data["pictures"]) == 1  # the data's


def test_there_is_room_for_so_many_only(project: Path) -> None:
    for number in range(9):
        (project / ".runs" / "run" / "flow_outputs" / f"{number}.png").write_bytes(PNG + bytes([number]) * 700_000)
    page = _report(project, [_image(f"flow_outputs/{number}.png") for number in range(9)])
    assert len(_data(page)["pictures"]) == 5
    assert len(page) < 5_000_000
