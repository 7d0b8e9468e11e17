"""The house rules that no linter holds: light imports, flows that travel alone, no secret and no stray path."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from phi3flow.cli.main import VERBS
from tests.support.paths import ROOT

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
