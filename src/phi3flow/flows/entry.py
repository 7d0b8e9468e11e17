"""A flex flow's entry, ``module:function`` or ``module:Class``: its inputs, read from the source without running it."""

from __future__ import annotations

import ast
from pathlib import Path

from phi3flow.errors import FlowError
from phi3flow.flows.inputs import FlowInput

_TYPES = {"str": "string", "int": "int", "float": "double", "bool": "bool", "list": "list", "dict": "object"}


def entry_inputs(folder: Path, entry: object, *, where: Path) -> dict[str, FlowInput]:
    """Return the parameters of the entry function, or of the entry class's ``__call__``, by name.

    Raises FlowError, which begins with ``where``, for an entry that is not in the folder.
    """
    module, _, name = entry.partition(":") if isinstance(entry, str) else ("", "", "")
    if not module or not name:
        raise FlowError(f"{where}: entry is {entry!r}: write module:function or module:Class")
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    try:
        tree = ast.parse(file.read_text(encoding="utf-8-sig"))
    except (OSError, SyntaxError, UnicodeDecodeError) as error:
        raise FlowError(f"{where}: entry {entry}: {file} cannot be read: {error}") from error
    definition = _find(tree.body, name)
    if isinstance(definition, ast.ClassDef):
        definition = _find(definition.body, "__call__")
    if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        raise FlowError(f"{where}: entry {entry}: {file} defines no function {name} and no class {name} with __call__")
    return _parameters(definition.args)


def _find(body: list[ast.stmt], name: str) -> ast.stmt | None:
    kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return next((node for node in body if isinstance(node, kinds) and node.name == name), None)


def _parameters(arguments: ast.arguments) -> dict[str, FlowInput]:
    positional = [*arguments.posonlyargs, *arguments.args]
    without = len(positional) - len(arguments.defaults)
    pairs = [
        *zip(positional, [*([None] * without), *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {
        argument.arg: FlowInput(
            type=_type(argument.annotation),
            default=_literal(default),
            has_default=default is not None,
            is_chat_history=argument.arg == "chat_history",
            is_computed=default is not None and not _is_literal(default),
        )
        for argument, default in pairs
        if argument.arg != "self"
    }


def _type(annotation: ast.expr | None) -> str:
    name = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return _TYPES.get(name.id, "object") if isinstance(name, ast.Name) else "object"


def _literal(node: ast.expr | None) -> object:
    """Return the default where it is a literal; any other is left to Python, which applies it in the call."""
    return ast.literal_eval(node) if node is not None and _is_literal(node) else None


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except ValueError:
        return False
    return True
