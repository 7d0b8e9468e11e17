"""Flex flows with entries of every form that promptflow's executor takes, and what that executor itself gives."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

PLACES: dict[str, tuple[str, dict[str, str]]] = {
    "module": ("entry", {"entry.py": "{code}"}),
    "other name": ("my_flow_2", {"my_flow_2.py": "{code}"}),
    "package": ("pack", {"pack/__init__.py": "{code}"}),
    "submodule": ("pack.sub.mod", {"pack/__init__.py": "", "pack/sub/__init__.py": "", "pack/sub/mod.py": "{code}"}),
    "namespace": ("src.entry", {"src/entry.py": "{code}"}),
    "package and module": ("both", {"both.py": "raise ImportError", "both/__init__.py": "{code}"}),
    "imported": ("entry", {"entry.py": "from lib import run, Run", "lib.py": "{code}"}),
    "imported as": ("entry", {"entry.py": "import lib\nrun, Run = lib.run, lib.Run", "lib.py": "{code}"}),
    "all imported": ("entry", {"entry.py": "from lib.inner import *", "lib/__init__.py": "", "lib/inner.py": "{code}"}),
    "relative": ("pack", {"pack/__init__.py": "from .inner import Run, run", "pack/inner.py": "{code}"}),
    "conditional": (
        "entry",
        {
            "entry.py": "try:\n    from gone import run\nexcept ImportError:\n    from lib import run, Run",
            "lib.py": "{code}",
        },
    ),
    "bound twice": (
        "entry",
        {"entry.py": "def run(other): pass\nclass Run: pass\nfrom lib import run, Run", "lib.py": "{code}"},
    ),
    "inherited": (
        "entry",
        {"entry.py": "import lib\nrun = lib.run\nclass Run(lib.Run):\n    more = 1", "lib.py": "{code}"},
    ),
}
OUTPUTS = {
    "text": "q.upper()",
    "number": "len(q)",
    "none": "None",
    "list": "[q, 1]",
    "dict": "{'a': q, 'n': 1}",
    "dataclass": "Answer(q, 2)",
    "generator in a dict": "{'a': (c for c in q), 'n': 1}",
    "generator in a dataclass": "Answer((c for c in q), 1)",
}
KINDS = {  # of the function run, and of the class Run
    "function": ("def run({args}):\n    return {output}", "    def __call__(self, {args}):\n        return {output}"),
    "async": (
        "async def run({args}):\n    return {output}",
        "    async def __call__(self, {args}):\n        return {output}",
    ),
    "generator": (
        "def run({args}):\n    yield q\n    yield 1",
        "    def __call__(self, {args}):\n        yield from q",
    ),
    "async generator": (
        "async def run({args}):\n    yield q\n    yield 1",
        "    async def __call__(self, {args}):\n        yield q",
    ),
    "traced": (
        "@trace\ndef run({args}):\n    return {output}",
        "    @trace\n    def __call__(self, {args}):\n        return {output}",
    ),
    "decorated": (
        "@kept\ndef run({args}):\n    return {output}",
        "    def __init__(self, n: int = 1):\n        pass\n\n"
        "    @kept\n    def __call__(this, {args}):\n        return {output}",
    ),
    "failing": (
        "def run({args}):\n    raise ValueError(q)",
        "    async def __call__(self, {args}):\n        yield q\n        raise KeyError(q)",
    ),
}
ARGUMENTS = [
    "q",
    "q: str",
    "q: str, more: str = 'm'",
    "q: str, *, more: int = 1",
    "q: 'str', more=None",
    "q, *rest, **others",
]
HEAD = """
import functools
from dataclasses import dataclass
from promptflow.tracing import trace

@dataclass
class Answer:
    a: object
    n: int

def kept(function):
    @functools.wraps(function)
    def call(*args, **kwargs):
        return function(*args, **kwargs)
    return call

"""
EXECUTE = """
import json, os, sys
from pathlib import Path
from promptflow._utils.dataclass_serializer import convert_eager_flow_output_to_dict
from promptflow.executor import FlowExecutor

said = []
for folder in map(Path, json.load(sys.stdin)):
    loaded = set(sys.modules)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    output, failed = {}, None
    try:
        result = FlowExecutor.create(Path("flow.flex.yaml"), {}, folder).exec_line({"q": sys.argv[1]}, index=0)
        failed = (result.run_info.error or {}).get("message")
        output = {} if failed else convert_eager_flow_output_to_dict(result.output)
        json.dumps(output, default=vars)
    except Exception as error:
        output, failed = {}, repr(error)
    said.append([{name: value for name, value in output.items() if name != "line_number"}, failed])
    sys.path.remove(str(folder))
    for name in set(sys.modules) - loaded:
        if str(folder) in str(getattr(sys.modules[name], "__file__", None) or sys.modules[name]):
            del sys.modules[name]
print(json.dumps(said, default=vars))
"""


class Entry(NamedTuple):
    """One form of an entry."""

    place: str
    kind: str
    output: str
    arguments: str
    name: str

    def write(self, folder: Path) -> Path:
        """Write the flow and return its folder."""
        module, files = PLACES[self.place]
        function, method = KINDS[self.kind]
        code = f"{function}\n\nclass Run:\n{method}\n"
        code = HEAD + code.replace("{args}", self.arguments).replace("{output}", OUTPUTS[self.output])
        for name, content in files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content.replace("{code}", code), encoding="utf-8")
        (folder / "flow.flex.yaml").write_text(f"entry: {module}:{self.name}\n", encoding="utf-8")
        return folder


# What promptflow's executor never ends, or does not end as JSON, is left out.
ENTRIES = st.builds(
    Entry,
    *(st.sampled_from(sorted(values)) for values in (PLACES, KINDS, OUTPUTS)),
    st.sampled_from(ARGUMENTS),
    st.sampled_from(["run", "Run"]),
).filter(lambda entry: entry.kind != "failing" and not (entry.kind == "async" and "generator" in entry.output))


def promptflows_own(folders: Iterable[Path], question: str) -> list[tuple[dict[str, Any], str | None]]:
    """Return the outputs that promptflow's executor gives for a line of each flow, or its error's message."""
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, question],
        input=json.dumps([str(folder) for folder in folders]),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [(output, failed) for output, failed in json.loads(done.stdout.splitlines()[-1])]
