"""A flex flow's entry, ``module:function`` or ``module:Class``: its inputs.

They are read from the source where that says them plainly; else Python is asked, in a process of its own.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from phi3flow.errors import FlowError
from phi3flow.flows.inputs import FlowInput
from phi3flow.flows.source_names import parse_python

_TYPES = {"str": "string", "int": "int", "float": "double", "bool": "bool", "list": "list", "dict": "object"}
_KEEP_SIGNATURE = {"trace", "dataclass"}  # decorators
_IMPORTED_WITHIN_S = 120.0
_SIGNATURE = Path(__file__).with_name("entry_signature.py")  # run as a file: the package would be imported for nothing
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def entry_inputs(folder: Path, entry: object, *, where: Path, environment: Mapping[str, str]) -> dict[str, FlowInput]:
    """Return the parameters of the entry function, or of the entry class's ``__call__``, by name.

    The entry may be any that Python imports from the folder: defined in a package, imported from elsewhere, inherited.
    A module that has to be imported to know sees ``environment``. Raises FlowError, which begins with ``where``.
    """
    module, _, name = entry.partition(":") if isinstance(entry, str) else ("", "", "")
    if not module or not name:
        raise FlowError(f"{where}: entry is {entry!r}: write module:function or module:Class")
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    function = _plain_function(file, name) if file.is_file() and not file.with_suffix("").is_dir() else None
    if function is None:
        return _ask_python(folder, module, name, f"{where}: entry {entry}", environment)
    return _parameters(*function)


def _plain_function(file: Path, name: str) -> tuple[ast.arguments, bool] | None:
    """Return the arguments of the function that a module defines under a name, and whether it is a class's method.

    None where the source alone does not tell: the name is bound elsewhere too, imported, inherited or decorated.
    """
    try:
        tree = parse_python(file.read_text(encoding="utf-8-sig"))
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None
    if [*_bound_names(tree)].count(name) != 1 or "*" in _bound_names(tree):
        return None
    definition = next((node for node in tree.body if getattr(node, "name", None) == name), None)
    if isinstance(definition, ast.ClassDef) and not definition.keywords and _keeps_signature(definition):
        methods = [node for node in definition.body if getattr(node, "name", None) == "__call__"]
        if len(methods) == 1 and isinstance(methods[0], _Function) and _keeps_signature(methods[0]):
            return methods[0].args, True
    if isinstance(definition, _Function) and _keeps_signature(definition):
        return definition.args, False
    return None


def _bound_names(tree: ast.Module) -> Iterator[str]:
    """Yield the names that anything in a module binds, in any scope; ``*`` where it imports all names of another."""
    for node in ast.walk(tree):
        if isinstance(node, _Function | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.alias):
            yield node.asname or node.name
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id


def _keeps_signature(definition: _Function | ast.ClassDef) -> bool:
    """Whether a definition has no decorator that may change how it is called."""
    for decorator in definition.decorator_list:
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
        if name not in _KEEP_SIGNATURE:
            return False
    return True


def _ask_python(
    folder: Path, module: str, name: str, where: str, environment: Mapping[str, str]
) -> dict[str, FlowInput]:
    command = [sys.executable, "-P", str(_SIGNATURE), str(folder), module, name]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=_IMPORTED_WITHIN_S,
        )
        said = json.loads(done.stdout)
    except subprocess.TimeoutExpired as error:
        raise FlowError(f"{where}: importing {module} takes more than {_IMPORTED_WITHIN_S:g} s") from error
    except ValueError as error:
        raise FlowError(f"{where}: importing {module} ended Python (exit code {done.returncode})") from error
    if "error" in said:
        raise FlowError(f"{where}: {said['error']}")
    return {
        parameter["name"]: FlowInput(
            type=_type(parameter["type"]),
            default=parameter.get("default"),
            has_default="default" in parameter,
            is_chat_history=parameter["name"] == "chat_history",
            is_computed=parameter.get("is_computed", False),
        )
        for parameter in said["parameters"]
    }


def _parameters(arguments: ast.arguments, is_method: bool) -> dict[str, FlowInput]:
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    pairs = [
        *zip(positional, [*([None] * without), *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {
        argument.arg: FlowInput(
            type=_type(_type_name(argument.annotation)),
            default=_literal(default),
            has_default=default is not None,
            is_chat_history=argument.arg == "chat_history",
            is_computed=default is not None and not _is_literal(default),
        )
        for argument, default in pairs[is_method:]
        if argument.arg != "self"
    }


def _type(name: str) -> str:
    return _TYPES.get(name, "object")


def _type_name(annotation: ast.expr | None) -> str:
    name = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return name.id if isinstance(name, ast.Name) else ""


def _literal(node: ast.expr | None) -> object:
    """Return the default where it is a literal; any other is left to Python, which applies it in the call."""
    return ast.literal_eval(node) if node is not None and _is_literal(node) else None


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True
