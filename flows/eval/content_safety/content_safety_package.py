"""promptflow-evals' own module for the evaluation service, loaded without the rest of its package.

Importing it in the ordinary way imports NLTK, which downloads data and fails offline, though nothing here uses it. So
its files are loaded under a name of their own: the package's headers, requests, polling and parsing, unchanged.
"""

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

_NAME = "content_safety_promptflow_evals"
_SEVERITY = "get_harm_severity_level"


def load_rai_service(client: Callable[[], Any]) -> ModuleType:
    """Return a copy of ``promptflow.evals._common.rai_service`` that sends its requests through what ``client`` gives.

    Raises ImportError with the remedy where the package is missing.
    """
    folder = _folder()
    package = ModuleType(_NAME)
    package.__path__ = [str(folder)]
    sys.modules[_NAME] = package
    try:
        constants = importlib.import_module(f"{_NAME}.constants")
        sys.modules[f"{_NAME}.utils"] = _utils_without_nltk(folder / "utils.py", constants)
        module = importlib.import_module(f"{_NAME}.rai_service")
    finally:
        for name in (_NAME, f"{_NAME}.constants", f"{_NAME}.utils", f"{_NAME}.rai_service"):
            sys.modules.pop(name, None)
    module.get_async_http_client = client  # type: ignore[attr-defined]
    return module


def _folder() -> Path:
    package = importlib.util.find_spec("promptflow.evals")
    if package is None or not package.submodule_search_locations:
        raise ImportError("promptflow-evals is not installed: pip install 'promptflow-evals>=0.3.5,<0.4'")
    return Path(package.submodule_search_locations[0]) / "_common"


def _utils_without_nltk(file: Path, constants: ModuleType) -> ModuleType:
    """Return the package's ``utils`` with the one function that rai_service takes from it."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == _SEVERITY]
    module = ModuleType(f"{_NAME}.utils")
    module.__dict__.update(constants=constants, np=importlib.import_module("numpy"))
    exec(compile(tree, str(file), "exec"), module.__dict__)
    return module
