"""What conformance.py runs: every flow of a checkout of promptflow's repository, with rows to run it over."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from phi3flow.records.yaml_text import YamlError, parse_yaml

EXAMPLES = Path("examples")
TESTS = Path("src/promptflow/tests/test_configs")
SECTIONS = {"examples": EXAMPLES, "test flows": TESTS}
FLOW_FILES = ("flow.dag.yaml", "flow.flex.yaml", "flow.dag.yml", "flow.flex.yml")
PROMPTY_FOLDERS = (EXAMPLES / "prompty", TESTS / "prompty")
ROWS_NAMES = ("data.jsonl", "inputs.jsonl", "samples.json", "sample.json", "inputs.json")
MOST_LINES = 10
LINE_NUMBER = "line_number"  # a column of this name would number pf's lines
_MADE: dict[str, Any] = {"int": 3, "double": 1.5, "bool": True, "list": ["a", "b"], "object": {"key": "value"}}
_CONFIGURATIONS = {
    "AzureOpenAIModelConfiguration": {"connection": "azure_open_ai_connection", "azure_deployment": "gpt-4"},
    "OpenAIModelConfiguration": {"connection": "your_open_ai_connection", "model": "gpt-4"},
    "AzureOpenAIConnection": "azure_open_ai_connection",
    "OpenAIConnection": "your_open_ai_connection",
    "CustomConnection": "custom_connection",
    "int": 3,
}


@dataclass(frozen=True)
class Case:
    """A flow to run in a copy of the checkout.

    ``flow`` is its folder or .prompty file, relative to the checkout, ``rows`` what it runs over, which are to be
    written into the folder ``data``, ``source`` where they are from; ``mapping`` names the column of each input, and
    ``init`` has the arguments of a flex flow's class. ``run_file`` is a run.yml of its author, in place of all that.
    """

    section: str
    flow: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    data: Path = Path()
    source: str = ""
    mapping: dict[str, str] = field(default_factory=dict)
    init: dict[str, Any] = field(default_factory=dict)
    variant: str | None = None
    run_file: Path | None = None
    is_evaluation: bool = False

    @property
    def name(self) -> str:
        """The flow, and what of it is run."""
        path = self.flow.relative_to(SECTIONS[self.section]).as_posix()
        if self.run_file:
            return f"{path} ({self.run_file.name})"
        return f"{path} ({self.variant})" if self.variant else path

    @property
    def stem(self) -> str:
        """The name of the files that are made for it: flows may lie in one folder, and run at a time."""
        return "conformance-" + re.sub(r"\W+", "-", self.name).strip("-")


def find_cases(checkout: Path) -> Iterator[Case]:
    """Yield the cases of both sections, each flow with its default variant, its other variants and its run.yml."""
    for section, top in SECTIONS.items():
        files = [file.relative_to(checkout) for name in FLOW_FILES for file in (checkout / top).rglob(name)]
        for folder in sorted({file.parent for file in files if file.parent.name != "snapshot"}):
            yield from _cases_of_folder(checkout, section, folder)
        for prompty in PROMPTY_FOLDERS:
            if prompty.is_relative_to(top):
                files = sorted((checkout / prompty).rglob("*.prompty"))
                yield from (_case_of_prompty(checkout, section, file) for file in files)


def _cases_of_folder(checkout: Path, section: str, flow: Path) -> Iterator[Case]:
    folder = checkout / flow
    file = next(folder / name for name in FLOW_FILES if (folder / name).is_file())
    definition = _read_yaml(file)
    inputs = _inputs(folder, definition)
    rows, data, source = _rows(folder, definition, inputs)
    init = _init(folder, definition)
    is_evaluation = any(node.get("aggregation") for node in definition.get("nodes") or () if isinstance(node, dict))
    for variant in [None, *_variants(definition)]:
        yield Case(
            section=section,
            flow=flow,
            rows=rows,
            data=data.relative_to(checkout),
            source=source,
            mapping=_mapping(inputs, rows),
            init=init,
            variant=variant,
            is_evaluation=is_evaluation and not variant,
        )
    for run_file in sorted([*folder.glob("run.yml"), *folder.glob("run.yaml")]):
        content = _read_yaml(run_file)
        if (folder / str(content.get("data"))).is_file():
            yield Case(section, flow, source=str(content["data"]), run_file=run_file.relative_to(checkout))


def _case_of_prompty(checkout: Path, section: str, file: Path) -> Case:
    text = file.read_text(encoding="utf-8")
    definition = _parse(text.split("---")[1]) if text.count("---") > 1 else {}
    inputs = definition.get("inputs") or {}
    rows, data, source = _rows(file.parent, definition, inputs)
    flow, folder = file.relative_to(checkout), data.relative_to(checkout)
    return Case(section, flow, rows, folder, source, _mapping(inputs, rows))


def _mapping(inputs: Iterable[str], rows: list[dict[str, Any]]) -> dict[str, str]:
    """Return the column of each input that every row has: without it, pf leaves an input to its default."""
    return {name: f"${{data.{name}}}" for name in inputs if all(name in row for row in rows)}


def _read_yaml(file: Path) -> dict[str, Any]:
    return _parse(file.read_text(encoding="utf-8-sig"))


def _parse(text: str) -> dict[str, Any]:
    try:
        content = parse_yaml(text)
    except YamlError:  # which is then for both sides to say
        return {}
    return content if isinstance(content, dict) else {}


def _variants(definition: dict[str, Any]) -> list[str]:
    """Return the variants that are no default, as pf names them."""
    return [
        f"${{{node}.{name}}}"
        for node, body in (definition.get("node_variants") or {}).items()
        for name in body.get("variants") or {}
        if name != body.get("default_variant_id")
    ]


def _inputs(folder: Path, definition: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the inputs with type and default: the YAML's, else the parameters of a flex flow's entry."""
    declared = {name: body or {} for name, body in (definition.get("inputs") or {}).items()}
    if declared or "entry" not in definition:
        return declared
    types = {"int": "int", "float": "double", "bool": "bool", "list": "list", "dict": "object"}
    parameters = _parameters(folder, definition, "__call__")
    return {
        name: {"type": types.get(kind, "string")} | ({"default": None} if optional else {})
        for name, (kind, optional) in parameters.items()
    }


def _parameters(folder: Path, definition: dict[str, Any], method: str) -> dict[str, tuple[str, bool]]:
    """Return annotation, and whether there is a default, of each parameter of the entry, or of its class's method."""
    module, _, name = str(definition["entry"]).partition(":")
    try:
        file = folder.joinpath(*module.split(".")).with_suffix(".py")
        tree = ast.parse(file.read_text(encoding="utf-8-sig"))
    except (OSError, SyntaxError):
        return {}
    nodes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | _Function)}
    entry = nodes.get(name)
    if isinstance(entry, ast.ClassDef):
        entry = next((node for node in entry.body if isinstance(node, _Function) and node.name == method), None)
    elif method == "__init__":
        return {}
    if not isinstance(entry, _Function):
        return {}
    arguments = [argument for argument in entry.args.args if argument.arg != "self"]
    required = len(arguments) - len(entry.args.defaults)
    return {
        argument.arg: (ast.unparse(argument.annotation) if argument.annotation else "str", index >= required)
        for index, argument in enumerate(arguments)
    }


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _rows(
    folder: Path, definition: dict[str, Any], inputs: dict[str, dict[str, Any]]
) -> tuple[list[dict[str, Any]], Path, str]:
    """Return the first rows that fit the inputs, the folder of their file, and its name; else rows that are made."""
    needed = {name for name, body in inputs.items() if "default" not in body and name != "chat_history"}
    files = [folder / name for name in ROWS_NAMES if (folder / name).is_file()]
    files += [file for file in sorted(folder.rglob("*.jsonl")) if file not in files]
    for file in files:
        rows = _read_rows(file)
        rows = [{name: value for name, value in row.items() if name != LINE_NUMBER} for row in rows]
        if rows and (needed or set(inputs)) & set(rows[0]) and needed <= set(rows[0]):
            return rows[:MOST_LINES], file.parent, file.relative_to(folder).as_posix()
    sample = definition.get("sample")
    sample = sample.get("inputs", sample) if isinstance(sample, dict) else None
    if isinstance(sample, dict) and sample:
        return [sample], folder, "its sample"
    values = {name: _made(name, body) for name, body in inputs.items()}
    return [values or {"line": 1}], folder, "its defaults" if values else "one line"


def _read_rows(file: Path) -> list[dict[str, Any]]:
    text = file.read_text(encoding="utf-8-sig")
    try:
        if file.suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            content = json.loads(text)
            rows = content if isinstance(content, list) else [content]
    except ValueError:
        return []
    return rows if all(isinstance(row, dict) for row in rows) else []


def _made(name: str, body: dict[str, Any]) -> Any:
    if body.get("is_chat_history") or name == "chat_history":
        return []
    if body.get("default") not in (None, ""):
        return body["default"]
    return _MADE.get(str(body.get("type", "string")), "What is Prompt flow?")


def _init(folder: Path, definition: dict[str, Any]) -> dict[str, Any]:
    """Return arguments for a flex flow's class: its author's, else made by their annotations."""
    if "entry" not in definition:
        return {}
    if (folder / "init.json").is_file():
        return dict(json.loads((folder / "init.json").read_text(encoding="utf-8")))
    sample = definition.get("sample")
    if isinstance(sample, dict) and isinstance(sample.get("init"), dict):
        return dict(sample["init"])
    parameters = _parameters(folder, definition, "__init__")
    return {
        name: next((value for word, value in _CONFIGURATIONS.items() if word in kind), "text")
        for name, (kind, optional) in parameters.items()
        if not optional
    }
