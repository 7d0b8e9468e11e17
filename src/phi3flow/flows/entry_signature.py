"""The signature of a flex flow's entry, asked of Python: the module is imported, in a process that ends with it.

    python -P entry_signature.py FOLDER MODULE NAME

Prints one line of JSON: ``parameters``, each a name, a type's name, and its default where it has one (``is_computed``
where JSON does not hold it), or ``error``.
What the module itself prints goes to standard error.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
from typing import Any

_NAMED = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class _NoEntryError(Exception):
    """The module has no such function or class."""


def main() -> None:
    """Answer for the entry of the command line."""
    folder, module, name = sys.argv[1:]
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    os.chdir(folder)
    sys.path.insert(0, folder)
    try:
        said: dict[str, Any] = {"parameters": _parameters(importlib.import_module(module), name)}
    except _NoEntryError as error:
        said = {"error": str(error)}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    with answer:
        json.dump(said, answer)
    sys.stdout.flush()
    os._exit(0)  # threads that the module started are not waited for


def _parameters(module: Any, name: str) -> list[dict[str, Any]]:
    entry = getattr(module, name, None)
    if inspect.isclass(entry) and "__call__" in dir(entry):
        parameters = list(inspect.signature(entry.__call__).parameters.values())
        is_bound = isinstance(inspect.getattr_static(entry, "__call__"), staticmethod | classmethod)
        parameters = parameters if is_bound else parameters[1:]
    elif inspect.isfunction(entry):
        parameters = list(inspect.signature(entry).parameters.values())
    else:
        raise _NoEntryError(f"{module.__file__} has no function {name} and no class {name} with __call__")
    return [_describe(parameter) for parameter in parameters if parameter.kind in _NAMED and parameter.name != "self"]


def _describe(parameter: inspect.Parameter) -> dict[str, Any]:
    described = {"name": parameter.name, "type": _type_name(parameter.annotation)}
    if parameter.default is inspect.Parameter.empty:
        return described
    try:
        return {**described, "default": json.loads(json.dumps(parameter.default))}
    except (TypeError, ValueError):  # Python applies it in the call
        return {**described, "default": None, "is_computed": True}


def _type_name(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation.partition("[")[0]
    origin = getattr(annotation, "__origin__", annotation)
    return origin.__name__ if isinstance(origin, type) else ""


if __name__ == "__main__":
    main()
