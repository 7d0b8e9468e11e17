"""The house rules that no linter holds: light imports, flows that travel alone, no secret and no stray path; and that
the linter refuses what it is to refuse."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise, permutations
from pathlib import Path

import grimp
import pytest
from importlinter.api import read_configuration

from phi3flow.cli.main import VERBS
from tests.support.linted_copy import LintedCopy
from tests.support.paths import ROOT
from tests.support.source import SOURCE, source_trees

FLOWS = sorted(path.parent for path in ROOT.glob("flows/**/flow.dag.yaml") if ".runs" not in path.parts)
HEAVY = {
    "torch",
    "transformers",
    "promptflow",
    "pandas",
    "mlflow",
    "datasets",
    "openai",
    "aiohttp",
    "scipy",
    "pydantic",
}
SECRET = re.compile(
    rb"(AKIA[0-9A-Z]{16}|eyJhbGciOi[A-Za-z0-9_-]{20,}|sk-[A-Za-z0-9]{32,}|AccountKey=[A-Za-z0-9+/]{40,})"
)

(CONTRACT,) = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
FLOORS = [re.findall(r"\w+", floor) for floor in CONTRACT["layers"]]
NEIGHBOURS = [(upper, lower) for above, below in pairwise(FLOORS) for upper in above for lower in below]
ILLEGAL = [pair for floor in FLOORS for pair in permutations(floor, 2)] + [
    (lower, upper) for upper, lower in NEIGHBOURS
]
"""Importer and imported: every two rooms of a floor, both ways, and every room with each of the floor above it."""

PLACES = {"local", "azureml", "foundry", "serverless", "azure-openai", "ray"}
PICKS = {"backends/choice.py": 1, "engines/table.py": 1}
SAME_WORD = {
    "cli/check_data.py": 1,  # --tokenizer local: the model that was fine-tuned here
    "cli/connect.py": 1,  # --to foundry: where a connection is written
    "workers/ray_processes.py": 2,  # RAY_ADDRESS, as Ray reads it
}


@pytest.fixture(scope="module")
def linted_copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LintedCopy]:
    with LintedCopy(tmp_path_factory.mktemp("copy")) as copy:
        yield copy


@pytest.mark.parametrize(("importer", "imported"), ILLEGAL, ids=lambda room: room)
def test_an_import_of_a_neighbour_is_refused(linted_copy: LintedCopy, importer: str, imported: str) -> None:
    with linted_copy.adding(f"import phi3flow.{imported}", module=importer):
        exit_code, report = linted_copy.lint()
    assert exit_code == 1
    assert f"phi3flow.{importer} is not allowed to import phi3flow.{imported}:" in report


@pytest.mark.parametrize(("importer", "imported"), NEIGHBOURS, ids=lambda room: room)
def test_an_import_of_the_floor_below_is_accepted(linted_copy: LintedCopy, importer: str, imported: str) -> None:
    with linted_copy.adding(f"import phi3flow.{imported}", module=importer):
        exit_code, report = linted_copy.lint()
    assert exit_code == 0, report


@pytest.mark.parametrize(
    "code",
    [
        "from phi3flow.runner.batch import *",
        "from ..runner import batch",
        "def run():\n    from phi3flow.runner import batch",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from phi3flow.runner import RunPlan",
    ],
    ids=["from", "relative", "late", "for types only"],
)
def test_an_import_is_refused_in_any_form(linted_copy: LintedCopy, code: str) -> None:
    with linted_copy.adding(code, module="pacing.pacer"):
        exit_code, report = linted_copy.lint()
    assert exit_code == 1
    assert "phi3flow.pacing is not allowed to import phi3flow.runner:" in report


@pytest.mark.parametrize("module", ["drawer", "drawer.__init__"], ids=["module", "folder"])
def test_a_module_on_no_floor_is_refused(linted_copy: LintedCopy, module: str) -> None:
    with linted_copy.adding("", module=module):
        exit_code, report = linted_copy.lint()
    assert exit_code == 1
    assert "not listed as layers:\n\n- phi3flow.drawer\n" in report


def test_every_room_has_its_floor_and_was_tried() -> None:
    rooms = {path.stem for path in SOURCE.iterdir() if path.suffix == ".py" or any(path.rglob("*.py"))} - {"__init__"}
    assert {room for pair in ILLEGAL for room in pair} == rooms


def test_the_root_holds_what_every_room_needs_and_nothing_else() -> None:
    assert {path.stem for path in SOURCE.glob("*.py")} == {
        "__init__",
        "__main__",
        "errors",
        "proxies",
        "quickstart",
        "signals",
        "temporary",
        "text",
    }


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Not even where it is late, or for types only: of a circle, no module can be read before the others."""
    graph = grimp.build_graph("phi3flow", cache_dir=None)
    circles = {
        (importer, imported)
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
        if graph.chain_exists(importer=imported, imported=importer)
    }
    assert circles == set()


def test_no_verb_imports_another() -> None:
    graph = grimp.build_graph("phi3flow", cache_dir=None)
    verbs = graph.find_children("phi3flow.cli") - {f"phi3flow.cli.{name}" for name in ("arguments", "main", "terminal")}
    assert [(verb, other) for verb in verbs for other in graph.find_modules_directly_imported_by(verb) & verbs] == []


def _branches(tree: ast.Module) -> list[ast.expr]:
    """Return what compares with, looks up by or maps from the name of a backend or of an engine."""
    compared = [(node, [node.left, *node.comparators]) for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    compared += [(node.value, [node.value]) for node in ast.walk(tree) if isinstance(node, ast.MatchValue)]
    compared += [(node, [key for key in node.keys if key]) for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    looked_up = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript)]
    compared += [(node, [node.slice]) for node in looked_up if isinstance(node.slice, ast.Constant)]
    return [
        branch
        for branch, operands in compared
        if any(isinstance(leaf, ast.Constant) and leaf.value in PLACES for leaf in _leaves(operands))
    ]


def _leaves(operands: list[ast.expr]) -> Iterator[ast.expr]:
    for operand in operands:
        yield from operand.elts if isinstance(operand, ast.Tuple | ast.List | ast.Set) else [operand]


def test_where_something_runs_is_asked_in_one_place_only() -> None:
    """A backend or an engine is a folder behind a protocol: what branches on its name must be mended for each new."""
    branches = {name: _branches(tree) for name, tree in source_trees().items()}
    lines = [f"{name}:{branch.lineno} {ast.unparse(branch)}" for name in branches for branch in branches[name]]
    assert {name: len(branches[name]) for name in branches if branches[name]} == PICKS | SAME_WORD, "\n".join(lines)


def _imported_by(code: str) -> set[str]:
    program = f"import sys\n{code}\nimport json\nprint(json.dumps(sorted(sys.modules)))"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    return {name.partition(".")[0] for name in json.loads(output.splitlines()[-1])}


@pytest.mark.parametrize(
    "arguments", [[], *([verb] for verb in VERBS)], ids=lambda words: " ".join(words) or "phi3flow"
)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"from phi3flow.cli.main import main\nmain({[*arguments, '--help']!r})"
    assert _imported_by(code) & HEAVY == set()


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["runs", "list"], HEAVY - {"pydantic"}),
        (["status"], HEAVY - {"pydantic"}),
        (["check-data", "data/test.jsonl", "--tokenizer", "no-such-folder"], {"torch", "promptflow", "mlflow"}),
        (["prepare-data", "--input", "no-such-file.jsonl"], {"torch", "promptflow", "mlflow"}),
        (["batch-run", "no-such-flow"], {"torch", "transformers", "promptflow", "mlflow", "datasets"}),
        (["score", "no-such-run"], {"torch", "transformers", "promptflow", "mlflow", "datasets"}),
        (["compare", "no-such-run", "nor-this"], {"torch", "transformers", "promptflow", "mlflow", "datasets"}),
        (["report", "no-such-run"], {"torch", "transformers", "promptflow", "mlflow", "datasets"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_verb_imports_only_what_it_needs(arguments: list[str], unwanted: set[str]) -> None:
    assert _imported_by(f"from phi3flow.cli.main import main\nmain({arguments!r})") & unwanted == set()


def test_importing_the_package_imports_nothing_heavy() -> None:
    assert _imported_by("import phi3flow.cli.main") & HEAVY == set()


def test_running_a_flow_starts_no_thread_that_asks_a_service_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED")
    code = (
        "from pathlib import Path\n"
        "from phi3flow.flows import load_flow, open_flow\n"
        "import threading\n"
        "with open_flow(load_flow(Path('flows/eval/answer_match')), connections=dict):\n"
        "    names = [thread.name for thread in threading.enumerate()]\n"
        "print(names)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "MainThread" in run.stdout
    assert "ConfigurationWorker" not in run.stdout


def _modules_of(flow: Path) -> list[Path]:
    return [path for path in flow.rglob("*.py") if "__pycache__" not in path.parts]


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_imports_nothing_of_ours(flow: Path) -> None:
    for path in _modules_of(flow):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in ("phi3flow", "tests")], path


def test_no_two_flows_share_a_module_name() -> None:
    owners: dict[str, Path] = {}
    for flow in FLOWS:
        for path in _modules_of(flow):
            assert owners.setdefault(path.stem, flow) == flow, f"{path.stem} stands in {owners[path.stem]} and {flow}"


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_a_flow_folder_is_complete(flow: Path) -> None:
    assert {"requirements.txt", "README.md"} <= {path.name for path in flow.iterdir()}
    assert "additional_includes" not in (flow / "flow.dag.yaml").read_text(encoding="utf-8")


def _tracked_files() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def test_the_tree_holds_no_secret_and_no_home_path() -> None:
    home = re.compile(rb"(/home/[a-z]+/|/Users/[A-Za-z]+/|/root/)")
    for path in _tracked_files():
        content = path.read_bytes()
        assert not SECRET.search(content), path
        assert path == Path(__file__) or not home.search(content), path


def test_the_tree_holds_no_large_file() -> None:
    large = {str(path.relative_to(ROOT)) for path in _tracked_files() if path.stat().st_size > 1_000_000}
    assert large == set()


def test_the_scripts_are_the_verbs() -> None:
    for script in ROOT.glob("scripts/*.py"):
        assert f'main(["{script.stem.replace("_", "-")}", *sys.argv[1:]])' in script.read_text(encoding="utf-8")
        assert script.stem.replace("_", "-") in VERBS
