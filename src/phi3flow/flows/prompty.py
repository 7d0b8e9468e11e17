"""Prompty files: a prompt under a front matter that names the model and the inputs, run as a flow."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from phi3flow.errors import ConfigError, FlowError
from phi3flow.flows.inputs import FlowInput
from phi3flow.records.yaml_text import YamlError, parse_yaml

SUFFIX = ".prompty"
OUTPUT = "output"
"""What promptflow calls the output of a prompty that declares none."""
_PARTS = re.compile(r"-{3,}\n(.*)-{3,}\n(.*)", re.DOTALL)  # promptflow's own
_FILE = re.compile(r"\$\{file:(.*)\}")
_VARIABLE = re.compile(r"\$\{env:(.*)\}")
_MODEL_NAMES = ("type", "model", "azure_deployment")
_TYPES = ((bool, "bool"), (int, "int"), (float, "double"), (str, "string"), (list, "list"))


def read_prompty(file: Path) -> tuple[str, dict[str, Any]]:
    """Return the text of a prompty, and what its front matter says. Raises FlowError where it is none."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FlowError(f"{file}: cannot be read as UTF-8: {error}") from error
    parts = _PARTS.search(text)
    try:
        definition = parse_yaml(parts[1]) if parts else None
    except YamlError as error:
        raise FlowError(f"{file}: its front matter is not YAML: {error}") from error
    if not isinstance(definition, dict) or not isinstance(definition.get("model"), dict):
        raise FlowError(f"{file}: is no prompty: it must begin with ---, name a model, and go on after a second ---")
    return text, definition


def prompty_inputs(file: Path, definition: Mapping[str, Any]) -> dict[str, FlowInput]:
    """Return the inputs: the declared ones, else those of the sample, whose values are no data and no defaults."""
    declared = definition.get("inputs") or {}
    if declared:
        return {name: FlowInput.declared(name, body or {}) for name, body in declared.items()}
    sample = definition.get("sample") or {}
    if isinstance(sample, str) and (reference := _FILE.match(sample)):
        try:
            sample = json.loads((file.parent / reference[1]).read_bytes())
        except (OSError, ValueError) as error:
            raise FlowError(f"{file}: sample: {sample} cannot be read: {error}") from error
    sample = sample.get("inputs", sample) if isinstance(sample, dict) else {}
    return {name: FlowInput.declared(name, {"type": _type(value)}) for name, value in sample.items()}


def prompty_files(file: Path, text: str) -> dict[str, str]:
    """Return the SHA-256 of a prompty and of each file that it refers to, by name."""
    paths = {name: file.parent / name for name in _FILE.findall(text)}
    referred = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    contents = {**referred, file.name: text.encode()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def model_overrides(definition: Mapping[str, Any], overrides: Mapping[str, str], *, name: str) -> dict[str, Any]:
    """Return the model that takes the place of a prompty's where ``{"model.connection": …}`` and the like are set.

    A connection takes the place of the address and key that stand in the file. Raises ConfigError for another key.
    """
    configuration: dict[str, Any] = {}
    for key, value in overrides.items():
        part, _, field = key.partition(".")
        if part != "model" or field not in ("connection", *_MODEL_NAMES):
            raise ConfigError(
                f"--connections {key}={value}: the prompty {name} has model.connection, model.model and "
                "model.azure_deployment"
            )
        configuration[field] = value
    if "connection" in configuration:
        own = definition["model"].get("configuration") or {}
        configuration |= {field: None for field in own if field not in ("connection", *_MODEL_NAMES)}
    return {"configuration": configuration}


def missing_variables(configuration: Mapping[str, Any]) -> Iterator[str]:
    """Yield the environment variables that a model's configuration refers to, where they have no value."""
    for value in configuration.values():
        if isinstance(value, str) and (reference := _VARIABLE.match(value)):
            yield reference[1]


def _type(value: object) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "object")
