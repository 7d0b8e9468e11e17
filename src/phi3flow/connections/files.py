"""connections/*.yml: read with ``${env:VAR}`` in place of secrets, and written as ``pf`` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from phi3flow.connections.connection import CUSTOM
from phi3flow.connections.definition import ConnectionDefinition
from phi3flow.connections.types import ConnectionType
from phi3flow.errors import ConfigError
from phi3flow.records.yaml_text import YamlError, dump_yaml, parse_yaml

_IRREGULAR_TYPES = {"azure_open_ai": "AzureOpenAI", "open_ai": "OpenAI", "azure_ai_services": "AzureAIServices"}
_ABOUT = {"$schema", "name", "type", "module"}
_API_KEY = "api_key"  # the one secret of every type but custom


def dump_connection(name: str, kind: ConnectionType, *, configs: Mapping[str, str], key_variable: str) -> bytes:
    """Return the YAML of a connection, as ``pf connection create --file`` reads it too."""
    secrets = {kind.key_field: f"${{env:{key_variable}}}"}
    is_custom = kind.class_name == CUSTOM
    values = {"configs": dict(configs), "secrets": secrets} if is_custom else {**configs, **secrets}
    return dump_yaml({"$schema": kind.schema, "name": name, "type": kind.name, **values}).encode()


@dataclass(frozen=True)
class ConnectionFiles:
    """What a folder's YAML files say: the connection asked for, the names there are, and what is no connection.

    ``not_understood`` says of each other file why; such files may belong to another tool.
    """

    connection: ConnectionDefinition | None
    names: list[str]
    not_understood: list[str]


def find_in_files(name: str, folder: Path) -> ConnectionFiles:
    """Look for a connection in the YAML files of a folder; only the file that has it need be right.

    Raises ConfigError, which names the file and never quotes a value, where the file that has the name, in it or as its
    own, is no connection, and for a second one of the same name.
    """
    names: list[str] = []
    not_understood: list[str] = []
    connection: ConnectionDefinition | None = None
    own_file: ConfigError | None = None
    for path in sorted(path for path in folder.glob("*") if path.suffix in (".yml", ".yaml")):
        try:
            content = _read_yaml(path)
        except ConfigError as error:
            own_file = error if path.stem == name else own_file
            not_understood.append(str(error))
            continue
        own_name = str(content.get("name") or path.stem)
        names.append(own_name)
        if own_name == name:
            if connection:
                raise ConfigError(f"{path}: the connection {name!r} is also in {connection.source}: rename one of them")
            connection = _parse(content, path)
    if connection is None and own_file:
        raise own_file
    return ConnectionFiles(connection, names, not_understood)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8") from error
    except YamlError as error:  # the whole message might quote a key
        raise ConfigError(f"{error.place(path)}: is not YAML") from None
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise ConfigError(f"{path}: is not a connection: it has no type (custom, open_ai, azure_open_ai, serverless …)")
    return content


def _parse(content: Mapping[str, Any], path: Path) -> ConnectionDefinition:
    type_ = content["type"]
    camel = _IRREGULAR_TYPES.get(type_) or "".join(word.capitalize() for word in type_.split("_"))
    values = {key: value for key, value in content.items() if key not in _ABOUT}
    if type_ == "custom":
        unknown = sorted(set(values) - {"configs", "secrets"})
        if unknown:
            raise ConfigError(f"{path}: {unknown[0]}: a custom connection has only name, type, configs and secrets")
        configs, secrets = values.get("configs") or {}, values.get("secrets") or {}
        if isinstance(configs, dict) and (empty := [key for key, value in configs.items() if value is None]):
            raise ConfigError(f"{path}: configs: {empty[0]} has no value")
        return ConnectionDefinition(
            str(path), CUSTOM, _texts(configs, f"{path}: configs"), _texts(secrets, f"{path}: secrets")
        )
    texts = _texts(values, str(path))
    secrets = {_API_KEY: texts.pop(_API_KEY)} if _API_KEY in texts else {}
    return ConnectionDefinition(str(path), f"{camel}Connection", texts, secrets)


def _texts(values: Any, where: str) -> dict[str, str]:
    """Return the values as text; an unquoted api_version is a date, whose text is known, that of 0012 is not."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must map names to values")
    for key, value in values.items():
        if isinstance(value, dict | list):
            raise ConfigError(f"{where}: {key} must be one value, not several")
        if isinstance(value, int | float | datetime):
            raise ConfigError(f"{where}: {key} must be a text, as for pf: put its value in quotes")
    return {str(key): "" if value is None else str(value) for key, value in values.items()}
