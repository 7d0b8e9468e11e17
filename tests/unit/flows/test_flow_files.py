"""A flow is what it executes and reads: each such file, wherever it lies, changes its fingerprint, and no other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phi3flow.flows import fingerprint, flow_files
from phi3flow.flows.flow_files import followed_files
from tests.support.flows.foreign_flows import ECHO, write_flow


@pytest.fixture
def flow(tmp_path: Path) -> Path:
    return write_flow(tmp_path / "project" / "flow", ECHO)


def _write(path: Path, text: str = "NAME = 1\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def _tool(flow: Path, *lines: str, within: str = "") -> None:
    """Have the tool begin with these lines; ``within``, do this in its body."""
    body = ECHO.replace("    return", f"    {within}\n    return") if within else ECHO
    (flow / "ask.py").write_text("\n".join(lines) + body, encoding="utf-8")


def _git(flow: Path, *ignored: str) -> None:
    subprocess.run(["git", "init", "-q", str(flow.parent)], check=True)
    (flow.parent / ".gitignore").write_text("\n".join(ignored) + "\n", encoding="utf-8")


def _linked_folder(flow: Path) -> Path:
    (flow / "shared").symlink_to("../shared")
    _tool(flow, "from shared import prompts")
    return _write(flow.parent / "shared" / "prompts.py")


def _linked_folder_in_git(flow: Path) -> Path:
    _git(flow, "nothing")
    return _linked_folder(flow)


def _linked_file(flow: Path) -> Path:
    (flow / "helper.py").symlink_to("../common/helper.py")
    _tool(flow, "import helper")
    return _write(flow.parent / "common" / "helper.py")


def _link_behind_a_link(flow: Path) -> Path:
    (flow / "one").symlink_to("../one")
    target = _write(flow.parent / "two" / "code.py")
    (flow.parent / "one").mkdir()
    (flow.parent / "one" / "two").symlink_to("../two")
    return target


def _ignored_library(flow: Path) -> Path:
    _git(flow, "lib/")
    _tool(flow, "from lib.answers import NAME")
    return _write(flow / "lib" / "answers.py")


def _ignored_library_on_the_path(flow: Path) -> Path:
    _git(flow, "lib/")
    _tool(flow, "import sys, os", "sys.path.append(os.path.join(os.path.dirname(__file__), 'lib'))", "import answers")
    return _write(flow / "lib" / "answers.py")


def _what_an_ignored_module_imports(flow: Path) -> Path:
    _git(flow, "lib/")
    _tool(flow, "import lib.first")
    _write(flow / "lib" / "first.py", "from . import second\n")
    return _write(flow / "lib" / "second.py")


def _ignored_prompt(flow: Path) -> Path:
    _git(flow, "*.txt")
    _tool(flow, within="open('system.txt').read()")
    return _write(flow / "system.txt")


def _ignored_prompts_by_a_pattern(flow: Path) -> Path:
    _git(flow, "prompts/")
    _tool(flow, within="open(f'prompts/{question}.md').read()")
    return _write(flow / "prompts" / "deep" / "q1.md")


def _ignored_file_that_the_yaml_names(flow: Path) -> Path:
    _git(flow, "made/")
    (flow / "flow.dag.yaml").write_text(
        (flow / "flow.dag.yaml").read_text().replace("path: ask.py", "path: made/ask.py"), encoding="utf-8"
    )
    return _write(flow / "made" / "ask.py", ECHO)


def _nested_repository(flow: Path) -> Path:
    _git(flow)
    subprocess.run(["git", "init", "-q", str(flow / "vendored")], check=True)
    return _write(flow / "vendored" / "code.py")


def _module_of_the_parent_folder(flow: Path) -> Path:
    _tool(
        flow, "import sys", "from pathlib import Path", "sys.path.insert(0, str(Path(__file__).resolve().parents[1]))"
    )
    (flow / "ask.py").write_text((flow / "ask.py").read_text() + "\nimport common.util\n", encoding="utf-8")
    _write(flow.parent / "common" / "__init__.py", "")
    return _write(flow.parent / "common" / "util.py")


def _module_of_a_relative_path(flow: Path) -> Path:
    _tool(flow, "import sys", "sys.path.append('../common')", within="import util")
    return _write(flow.parent / "common" / "util.py")


def _module_of_a_joined_path(flow: Path) -> Path:
    _tool(
        flow,
        "import sys, os",
        "HERE = os.path.dirname(os.path.abspath(__file__))",
        "ROOT = os.path.join(HERE, os.pardir)",
        "sys.path.append(os.path.join(ROOT, 'common'))",
        within="import importlib; importlib.import_module('util')",
    )
    return _write(flow.parent / "common" / "util.py")


def _what_the_parents_module_imports(flow: Path) -> Path:
    _tool(flow, "import sys", "sys.path.append('..')", "import common.util")
    _write(flow.parent / "common" / "util.py", "from .deeper import second\nimport third\n")
    _write(flow.parent / "third.py")
    return _write(flow.parent / "common" / "deeper" / "second.py")


def _file_that_the_parents_module_reads(flow: Path) -> Path:
    _tool(flow, "import sys", "sys.path.append('..')", "import common.util")
    code = "from pathlib import Path\nTEXT = (Path(__file__).parent / 'prompt.txt').read_text()\n"
    _write(flow.parent / "common" / "util.py", code)
    return _write(flow.parent / "common" / "prompt.txt")


def _file_of_the_parent_folder(flow: Path) -> Path:
    _tool(flow, within="open('../prompts/system.txt').read()")
    return _write(flow.parent / "prompts" / "system.txt")


def _file_of_the_project(flow: Path) -> Path:
    _tool(
        flow,
        "from pathlib import Path",
        "ROOT = Path(__file__).parent.parent",
        within="(ROOT / 'prompts' / f'{question}.txt').read_text()",
    )
    return _write(flow.parent / "prompts" / "q1.txt")


EXECUTED = [
    _linked_folder,
    _linked_folder_in_git,
    _linked_file,
    _link_behind_a_link,
    _ignored_library,
    _ignored_library_on_the_path,
    _what_an_ignored_module_imports,
    _ignored_prompt,
    _ignored_prompts_by_a_pattern,
    _ignored_file_that_the_yaml_names,
    _nested_repository,
    _module_of_the_parent_folder,
    _module_of_a_relative_path,
    _module_of_a_joined_path,
    _what_the_parents_module_imports,
    _file_that_the_parents_module_reads,
    _file_of_the_parent_folder,
    _file_of_the_project,
]


@pytest.mark.parametrize("place", EXECUTED, ids=lambda place: place.__name__.strip("_"))
def test_what_the_flow_executes_or_reads_counts_wherever_it_lies(
    flow: Path, tmp_path: Path, place: Callable[[Path], Path]
) -> None:
    file = place(flow)
    before = fingerprint(flow)
    shutil.copytree(tmp_path / "project", tmp_path / "elsewhere" / "deep" / "copy", symlinks=True)
    assert fingerprint(tmp_path / "elsewhere" / "deep" / "copy" / "flow") == before
    file.write_text(file.read_text() + "# edited\n", encoding="utf-8")
    assert fingerprint(flow) != before


def test_a_module_on_pythonpath_counts_and_the_whole_path_does_not(
    flow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, beside = _write(tmp_path / "lib" / "team" / "util.py"), _write(tmp_path / "lib" / "team" / "unused.py")
    _tool(flow, within="from team import util")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))
    before = fingerprint(flow)
    beside.write_text("NAME = 2\n", encoding="utf-8")
    assert fingerprint(flow) == before
    (tmp_path / "lib").rename(tmp_path / "other")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "other"))
    assert fingerprint(flow) == before
    (tmp_path / "other" / "team" / library.name).write_text("NAME = 2\n", encoding="utf-8")
    assert fingerprint(flow) != before


def test_a_module_of_an_editable_installation_counts(
    flow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip does it: a line of a .pth file, or a table in a finder of setuptools."""
    by_path = _write(tmp_path / "one" / "src" / "team_one" / "__init__.py")
    by_table = _write(tmp_path / "two" / "src" / "team_two" / "__init__.py")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "one" / "src")])
    code = (
        "from importlib.util import spec_from_file_location\n"
        f"MAPPING = {{'team_two': {str(by_table.parent)!r}}}\n"
        "class Finder:\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        return spec_from_file_location(name, MAPPING[name] + '/__init__.py') if name in MAPPING else None\n"
    )
    _write(tmp_path / "__editable___team_two_finder.py", code)
    monkeypatch.syspath_prepend(tmp_path)
    import importlib

    finder = importlib.import_module("__editable___team_two_finder").Finder
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, finder])
    _tool(flow, "import team_one, team_two")
    seen = [fingerprint(flow)]
    for file in (by_path, by_table):
        file.write_text("NAME = 2\n", encoding="utf-8")
        seen.append(fingerprint(flow))
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    "name",
    [
        "node_modules/left-pad/index.js",
        "venv/pyvenv.cfg",
        ".venv/lib/thing.py",
        ".git/HEAD",
        ".mypy_cache/CACHEDIR.TAG",
        ".ipynb_checkpoints/ask-checkpoint.py",
        "lib/__pycache__/x.cpython-311.pyc",
        "lib/.env",
    ],
)
def test_what_tools_keep_in_the_folder_does_not_count(flow: Path, name: str) -> None:
    _write(flow / "lib" / "code.py")
    before = fingerprint(flow)
    _write(flow / name, "left behind")
    _write((flow / name).parent / "more.bin", "left behind") if "lib" not in name else None
    assert fingerprint(flow) == before


def test_what_is_ignored_and_that_no_source_names_does_not_count(flow: Path) -> None:
    _git(flow, "notes.md", "out/")
    _write(flow / "notes.md")
    _write(flow / "out" / "picture.png")
    before = fingerprint(flow)
    _write(flow / "notes.md", "other")
    _write(flow / "out" / "picture.png", "other")
    assert fingerprint(flow) == before


def test_links_in_circles_end(flow: Path) -> None:
    (flow / "itself").symlink_to(".")
    (flow / "above").symlink_to("..")
    (flow / "root").symlink_to("/")
    for name, other in (("a", "b"), ("b", "a")):
        _write(flow.parent / name / "code.py")
        (flow.parent / name / "to").symlink_to(f"../{other}")
    (flow / "a").symlink_to("../a")
    (flow / "gone").symlink_to("nowhere")
    before = fingerprint(flow)
    assert sorted(map(str, flow_files(flow))) == ["a/code.py", "a/to/code.py", "ask.py", "flow.dag.yaml"]
    _write(flow.parent / "b" / "code.py", "NAME = 2\n")
    assert fingerprint(flow) != before


def test_folders_that_link_to_each_other_are_walked_once(flow: Path) -> None:
    names = [f"f{number}" for number in range(12)]
    for name in names:
        (flow / name).mkdir()
        for other in names:
            (flow / name / f"to_{other}").symlink_to(f"../{other}")
    _write(flow / "f7" / "code.py")
    started_s = time.perf_counter()
    before = fingerprint(flow)
    assert time.perf_counter() - started_s < 5
    _write(flow / "f7" / "code.py", "NAME = 2\n")
    assert fingerprint(flow) != before


def test_a_link_that_leads_elsewhere_now_counts(flow: Path) -> None:
    for version in ("v1", "v2"):
        _write(flow / version / "prompt.txt", version)
    seen = []
    for links in ({"now": "v1", "then": "v1"}, {"now": "v2", "then": "v1"}, {"now": "v1", "then": "v2"}):
        for name, target in links.items():
            (flow / name).unlink(missing_ok=True)
            (flow / name).symlink_to(target)
        seen.append(fingerprint(flow))
    assert len(set(seen)) == 3


def test_a_pipe_is_not_read_and_a_name_may_be_no_text(flow: Path) -> None:
    os.mkfifo(flow / "pipe")
    Path(os.fsdecode(os.fsencode(flow) + b"/\xff.txt")).write_text("x", encoding="utf-8")
    assert len(fingerprint(flow)) == 64


def test_large_data_is_read_once_for_as_long_as_it_is_not_touched(flow: Path) -> None:
    data = flow / "data.bin"
    data.write_bytes(os.urandom(1 << 20) * 200)
    os.utime(data)
    before = fingerprint(flow)
    time.sleep(2.1)  # what changed this very moment may change again unseen
    assert fingerprint(flow) == before
    started_s = time.perf_counter()
    assert fingerprint(flow) == before
    assert time.perf_counter() - started_s < 0.1
    with data.open("r+b") as file:
        file.seek(12_345_678)
        file.write(b"edited")
    os.utime(data, ns=(data.stat().st_atime_ns, 1_000_000_000))
    assert fingerprint(flow) != before


KINDS = {
    "plain": (lambda flow: flow, "import {module}", "{module}.py"),
    "linked": (lambda flow: flow.parent / "target", "import linked.{module}", "{module}.py"),
    "ignored": (lambda flow: flow / "ignored", "from ignored import {module}", "{module}.py"),
    "ignored, lazily": (lambda flow: flow / "ignored", "def f():\n    import ignored.{module}", "{module}.py"),
    "parent": (lambda flow: flow.parent, "import sys; sys.path.append('..')\nimport {module}", "{module}.py"),
    "read": (lambda flow: flow, "TEXT = open('{module}.txt')", "{module}.txt"),
    "read, ignored": (lambda flow: flow / "ignored", "TEXT = open('ignored/{module}.txt')", "{module}.txt"),
    "read, outside": (lambda flow: flow.parent / "texts", "TEXT = open('../texts/{module}.txt')", "{module}.txt"),
}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    used=st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=5),
    unused=st.lists(st.sampled_from(["ignored", "ignored text", "outside", "cache", "environment"]), max_size=3),
    edit=st.integers(0, 100),
    is_git=st.booleans(),
)
def test_an_edit_changes_the_fingerprint_where_the_file_is_executed_or_read(
    tmp_path_factory: pytest.TempPathFactory, used: list[str], unused: list[str], edit: int, is_git: bool
) -> None:
    flow = write_flow(tmp_path_factory.mktemp("generated") / "flow", ECHO)
    (flow.parent / "target").mkdir()
    (flow / "linked").symlink_to("../target")
    if is_git:
        _git(flow, "ignored/")
    executed, code = [], [(flow / "ask.py").read_text()]
    for number, kind in enumerate(used):
        folder, line, name = KINDS[kind]
        executed.append(_write(folder(flow) / name.format(module=f"used{number}"), f"# {number}\n"))
        code.append(line.format(module=f"used{number}"))
    (flow / "ask.py").write_text("\n".join(code), encoding="utf-8")
    executed.append(flow / "ask.py")
    places = {
        "ignored": flow / ".venv" / "elsewhere.py",  # without git nothing is ignored
        "ignored text": flow / "__pycache__" / "elsewhere.pyc",
        "outside": flow.parent / "elsewhere.py",
        "cache": flow / "node_modules" / "elsewhere.js",
        "environment": flow / ".env",
    }
    if is_git:
        places |= {"ignored": flow / "ignored2.tmp", "ignored text": flow / "scratch" / "elsewhere.md"}
        _git(flow, "ignored/", "ignored2.tmp", "scratch/")
    others = [_write(places[kind], "1") for kind in unused]
    before, files = fingerprint(flow), followed_files(flow)
    assert not any(name.startswith("/") for name in files)
    for other in others:
        other.write_text("2", encoding="utf-8")
    assert fingerprint(flow) == before
    chosen = executed[edit % len(executed)]
    chosen.write_text(chosen.read_text() + "# edited\n", encoding="utf-8")
    assert fingerprint(flow) != before
