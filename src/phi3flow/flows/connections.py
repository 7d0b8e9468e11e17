"""The connections of a flow: which it names, read without promptflow, and the form that its executor takes them in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from phi3flow.errors import FlowError
from phi3flow.flows.definition import Flow

TOOLS_FILE = Path(".promptflow", "flow.tools.json")

PromptflowConnection = Mapping[str, Any]
"""A connection in promptflow's dict form, which its executor takes: name, type, module, value, secret_keys.

``value`` has the connection's values by name, the secrets among them in clear.
"""

ConnectionSource = Callable[[str], PromptflowConnection]
"""Gives a connection by its name."""


def connection_names(flow: Flow) -> list[str]:
    """Return the names of the connections that the flow's nodes take, each once.

    A node's tool says which of its inputs are connections, in the flow's ``flow.tools.json``; where that is missing,
    those called connection are. Raises FlowError for a file that is not JSON.
    """
    tools = _read_tools(flow.folder / TOOLS_FILE)
    names: dict[str, None] = {}
    for node in flow.definition.get("nodes") or ():
        source = node.get("source") or {}
        tool = tools.get(str(source.get("path"))) or tools.get(str(source.get("tool"))) or {}
        values = {"connection": node.get("connection"), **(node.get("inputs") or {})}
        for name, value in values.items():
            is_connection = name == "connection" or _is_connection((tool.get("inputs") or {}).get(name))
            if is_connection and isinstance(value, str) and not value.startswith("${"):
                names[value] = None
    return list(names)


def _read_tools(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise FlowError(f"{file}: is not JSON ({error}): `pf flow validate --source` writes it anew") from error
    return {**(content.get("package") or {}), **(content.get("code") or {})}


def _is_connection(described: Mapping[str, Any] | None) -> bool:
    kinds = (described or {}).get("type") or ()
    return any(str(kind).endswith("Connection") for kind in kinds)
