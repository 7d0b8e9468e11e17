"""Images in data, histories and answers: by path beside the data's file, kept with the run, scored, opened by pf."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.records.images import image_paths, located, output_path, with_paths
from phi3flow.runs.folder import RunFolder
from tests.support.command_line import phi3flow
from tests.support.flows.foreign_flows import write_lines

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
X = {"data:image/png;path": "pictures/x.png"}
TOOL = """
from promptflow.contracts.multimedia import Image, Text
from promptflow.core import tool

@tool
def ask(question):
    return {code}
"""


def _project(folder: Path, code: str, *, type_: str = "list", extra: str = "", rows: list[Any] | None = None) -> Path:
    (folder / "flow").mkdir()
    (folder / "flow" / "flow.dag.yaml").write_text(
        f"{extra}inputs:\n  question: {{type: {type_}}}\noutputs:\n"
        "  answer: {type: object, reference: '${ask.output}'}\nnodes:\n- name: ask\n  type: python\n"
        "  source: {type: code, path: ask.py}\n  inputs: {question: '${inputs.question}'}\n",
        encoding="utf-8",
    )
    (folder / "flow" / "ask.py").write_text(TOOL.replace("{code}", code), encoding="utf-8")
    (folder / "data" / "pictures").mkdir(parents=True)
    (folder / "data" / "pictures" / "x.png").write_bytes(PNG)
    write_lines(folder / "data" / "lines.jsonl", [{"question": row} for row in rows or [X]])
    return folder


def _run(project: Path, *arguments: object) -> RunFolder:
    done = phi3flow("batch-run", "flow", "--data", "data/lines.jsonl", "--name", "run", *arguments, cwd=project)
    assert done.returncode == 0, done.stderr
    return RunFolder(project / ".runs" / "run")


SIZE = "f'{type(question).__name__} {len(question)}'"
FIRST = "[type(part).__name__ for part in question]"
TURN = {"inputs": {"question": ["what?", X]}, "outputs": {"answer": "a dot"}}


@pytest.mark.parametrize(
    ("type_", "row", "code", "answer"),
    [
        ("image", X, SIZE, "Image 70"),
        ("image", {"data:image/png;base64": base64.b64encode(PNG).decode()}, SIZE, "Image 70"),
        ("list", ["see", X, {"data:image/*;path": "pictures/x.png"}], FIRST, ["str", "Image", "Image"]),
        ("object", {"a": {"b": [X]}}, "type(question['a']['b'][0]).__name__", "Image"),
        ("list", [TURN], "type(question[0]['inputs']['question'][1]).__name__", "Image"),
        ("string", "data:image/png;path", "question", "data:image/png;path"),
    ],
)
def test_an_image_is_read_beside_the_data(tmp_path: Path, type_: str, row: Any, code: str, answer: Any) -> None:
    run = _run(_project(tmp_path, code, type_=type_, rows=[row]))
    (result,) = run.results()
    assert result.outputs == {"answer": answer}
    assert result.inputs == {"question": row}  # as the data has it, on every machine


def test_the_form_of_openais_vision_is_read_and_written_too(tmp_path: Path) -> None:
    image = {"type": "image_file", "image_file": {"path": "pictures/x.png"}}
    row = [image, {"type": "text", "text": "see"}]
    run = _run(_project(tmp_path, "question", extra="message_format: openai-vision\n", rows=[row]))
    kept = output_path(PNG, "image/png")
    answer = [{"type": "image_file", "image_file": {"path": kept}}, {"type": "text", "text": "see"}]
    assert run.results()[0].outputs == {"answer": answer}
    assert (run.path / kept).read_bytes() == PNG


def test_images_of_an_answer_are_kept_with_the_run_and_opened_by_its_readers(tmp_path: Path) -> None:
    code = "['see', question[0], {'again': Image(b'GIF89a' + bytes(question[0]), 'image/gif')}]"
    project = _project(tmp_path, code, rows=[[X], [X]])
    run = _run(project)
    png, gif = output_path(PNG, "image/png"), output_path(b"GIF89a" + PNG, "image/gif")
    answer = ["see", {"data:image/png;path": png}, {"again": {"data:image/gif;path": gif}}]
    assert [result.outputs for result in run.results()] == [{"answer": answer}] * 2
    assert (run.path / png).read_bytes() == PNG
    assert (run.path / gif).read_bytes() == b"GIF89a" + PNG
    assert sorted(file.suffix for file in (run.path / "flow_outputs").iterdir()) == [".gif", ".jsonl", ".png"]
    for line in (run.path / "flow_outputs" / "output.jsonl").read_text().splitlines():
        for path in image_paths(json.loads(line)):
            assert (run.path / "flow_outputs" / path).is_file()
    (run.path / "results.jsonl").write_bytes(b"".join((run.path / "results.jsonl").read_bytes().splitlines(True)[:1]))
    assert [result.outputs for result in _run(project).results()] == [{"answer": answer}] * 2


def test_an_image_that_is_not_there_is_the_lines_failure(tmp_path: Path) -> None:
    project = _project(tmp_path, SIZE, type_="image", rows=[X, {"data:image/png;path": "gone.png"}])
    done = phi3flow("batch-run", "flow", "--data", "data/lines.jsonl", "--name", "run", cwd=project)
    assert done.returncode == 1
    result = RunFolder(project / ".runs" / "run").results()[1]
    assert result.error is not None
    assert "gone.png" in result.error.message


def test_an_evaluation_gets_the_answers_image_and_the_datas(tmp_path: Path) -> None:
    project = _project(tmp_path, "question", type_="image")
    _run(project)
    (project / "eval").mkdir()
    (project / "eval" / "flow.dag.yaml").write_text(
        "inputs:\n  answer: {type: image}\n  question: {type: image}\noutputs:\n"
        "  same: {type: double, reference: '${ask.output}'}\nnodes:\n- name: ask\n  type: python\n"
        "  source: {type: code, path: ask.py}\n  inputs: {a: '${inputs.answer}', b: '${inputs.question}'}\n"
        "- name: count\n  type: python\n  source: {type: code, path: count.py}\n  aggregation: true\n"
        "  inputs: {pictures: '${inputs.answer}'}\n",
        encoding="utf-8",
    )
    tool = "from promptflow.core import tool\n\n@tool\ndef ask(a, b):\n    return float(bytes(a) == bytes(b))\n"
    (project / "eval" / "ask.py").write_text(tool, encoding="utf-8")
    count = "from promptflow.core import log_metric, tool\n\n@tool\ndef count(pictures: list):\n"
    count += "    log_metric('sizes', sum(map(len, pictures)))\n"
    (project / "eval" / "count.py").write_text(count, encoding="utf-8")
    done = phi3flow("score", "run", "--flow", "eval", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert (metrics["eval.same"]["mean"], metrics["eval.sizes"]["mean"]) == (1.0, 70.0)


IMAGES = st.builds(
    lambda name, kind: {f"data:image/{kind};path": name}, st.text("ab/.é", min_size=1), st.sampled_from(["png", "*"])
)
VALUES = st.recursive(
    st.none() | st.text() | st.integers() | IMAGES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_only_paths_of_images_are_changed(value: Any) -> None:
    before = json.dumps(value)
    moved = located(value, Path("/data"))
    assert json.dumps(value) == before
    assert list(image_paths(moved)) == [str(Path("/data") / path) for path in image_paths(value)]
    assert with_paths(moved, lambda path: "p") == with_paths(value, lambda path: "p")


@pytest.mark.parametrize("mime_type", ["image/../../x", "image/*", "image/svg+xml", "image/" + "a" * 50, ""])
def test_no_type_of_an_image_leads_out_of_the_folder(mime_type: str) -> None:
    assert Path(output_path(b"x", mime_type)).parent == Path("flow_outputs")


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_an_image_is_beside_its_file_in_a_folder_of_files(tmp_path: Path, name: str) -> None:
    project = _project(tmp_path, SIZE, type_="image")
    below = project / "data" / "below"
    (below / "pictures").mkdir(parents=True)
    (below / "pictures" / "y.png").write_bytes(PNG)
    absolute = {"data:image/png;path": str(below / "pictures" / "y.png")}
    rows = [{"question": {"data:image/png;path": "pictures/y.png"}}, {"question": absolute}]
    (below / name).write_text(json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows)), "utf-8")
    done = phi3flow("batch-run", "flow", "--data", "data", "--name", "run", cwd=project)
    assert done.returncode == 0, done.stderr
    results = RunFolder(project / ".runs" / "run").results()
    assert [result.outputs for result in results] == [{"answer": "Image 70"}] * 3
    assert {json.dumps(result.inputs["question"]) for result in results} == {
        json.dumps(image) for image in (X, {"data:image/png;path": "below/pictures/y.png"}, absolute)
    }
