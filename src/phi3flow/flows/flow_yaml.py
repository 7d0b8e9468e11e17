"""The YAML of a flow: read as promptflow reads it, and changed where a variant or a connection asks for it."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from phi3flow.errors import ConfigError, FlowError
from phi3flow.records.yaml_text import YamlError, parse_yaml

_VARIANT = re.compile(r"^\$\{([^.{}]+)\.([^{}]+)\}$")


def read_flow_yaml(file: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a flow's YAML, and what it says. Raises FlowError where that is no flow."""
    try:
        text = file.read_bytes().decode()  # with its line ends and byte order mark
        definition = parse_yaml(text)
    except YamlError as error:
        raise FlowError(f"{error.place(file)}: is not YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise FlowError(f"{file}: is not UTF-8: {error}") from error
    if not isinstance(definition, dict):
        raise FlowError(f"{file}: is not a flow: it holds {type(definition).__name__}, not a mapping")
    for section in ("inputs", "outputs", "environment_variables"):
        if not isinstance(definition.get(section) or {}, dict):
            raise FlowError(f"{file}: {section} must map names to definitions, not {definition[section]!r}")
    return text, definition


def check_nodes(definition: Mapping[str, Any], file: Path) -> None:
    """Raise FlowError unless the graph has a list of nodes, each with a name; it may be empty."""
    if not isinstance(definition.get("nodes"), list):
        raise FlowError(f"{file}: is not a flow: it has no list of nodes")
    for node in definition["nodes"]:
        if not isinstance(node, dict) or not isinstance(node.get("name"), str):
            raise FlowError(f"{file}: a node has no name: {node!r}")


def find_variant(dag: Mapping[str, Any], variant: str, file: Path) -> tuple[str, str]:
    """Return the node and the name of ``${node.variant}``, ``node.variant`` or a name that only one node has.

    Raises ConfigError where there is none, or several.
    """
    available = [
        (node, name) for node, body in (dag.get("node_variants") or {}).items() for name in body.get("variants") or {}
    ]
    reference = _VARIANT.match(variant)
    requested = f"{reference.group(1)}.{reference.group(2)}" if reference else variant
    matches = [(node, name) for node, name in available if requested in (str(name), f"{node}.{name}")]
    if len(matches) == 1:
        return matches[0]
    names = ", ".join(variant_reference(pair) for pair in available) or "none"
    problem = "several nodes have it" if matches else "there is none of that name"
    raise ConfigError(f"{file}: variant {variant!r}: {problem}; the variants are {names}")


def variant_reference(variant: tuple[str, str]) -> str:
    """Return ``${node.variant}``."""
    node, name = variant
    return f"${{{node}.{name}}}"


def apply_variants(dag: dict[str, Any], chosen: tuple[str, str] | None, file: Path) -> None:
    """Put each node's chosen or default variant in its place, as promptflow does. Raises FlowError for none."""
    variants = dag.pop("node_variants", None) or {}
    for index, node in enumerate(dag["nodes"]):
        if not node.get("use_variants"):
            continue
        name = node["name"]
        body = variants.get(name) or {}
        variant = chosen[1] if chosen and chosen[0] == name else body.get("default_variant_id")
        try:
            dag["nodes"][index] = {"name": name, **copy.deepcopy(body["variants"][variant]["node"])}
        except (KeyError, TypeError) as error:
            raise FlowError(f"{file}: node {name} uses variants, but variant {variant!r} is not defined") from error


def set_connections(dag: dict[str, Any], overrides: Mapping[str, str], *, flow: str) -> None:
    """Set connections by ``node.input``. Raises ConfigError for a node or an input that is not there."""
    nodes = {node["name"]: node for node in dag["nodes"]}
    for key, connection in overrides.items():
        node_name, _, input_name = key.partition(".")
        if node_name not in nodes or not input_name:
            raise ConfigError(
                f"--connections {key}={connection}: write NODE.INPUT=NAME; the flow {flow} has the nodes "
                f"{', '.join(nodes)}"
            )
        node = nodes[node_name]
        inputs = node.setdefault("inputs", {})
        if input_name == "connection" and ("connection" in node or node.get("type") == "llm"):
            node["connection"] = connection
        elif input_name in inputs:
            inputs[input_name] = connection
        else:
            raise ConfigError(
                f"--connections {key}={connection}: node {node_name} has no input {input_name!r}; "
                f"its inputs are {', '.join(inputs) or 'none'}"
            )
