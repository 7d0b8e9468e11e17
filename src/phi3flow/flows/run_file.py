"""run.yml, and the ``key=value`` words of the flags that stand for its tables."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phi3flow.errors import ConfigError
from phi3flow.records.validation import first_problem
from phi3flow.records.yaml_text import YamlError, parse_yaml
from phi3flow.text import shorten

_SHOWN_CHARACTERS = 80


_NOT_USED = ("display_name", "description", "tags", "properties", "runtime", "resources", "identity")
_LIKE = 0.75  # of two names' characters: what is so near to a field's name is meant to be it


class RunConfig(BaseModel):
    """``run.yml`` as ``pf run create --file`` reads it; paths are relative to the file.

    ``ignored`` names what the file has and ``pf`` takes, but means nothing to a run here.
    """

    model_config = ConfigDict(extra="forbid")

    schema_: str | None = Field(default=None, alias="$schema")
    name: str | None = None
    flow: str | None = None
    data: str | None = None
    run: str | None = None
    variant: str | None = None
    column_mapping: dict[str, Any] = Field(default_factory=dict)
    connections: dict[str, dict[str, str]] = Field(default_factory=dict)
    environment_variables: dict[str, str] = Field(default_factory=dict)
    init: dict[str, Any] = Field(default_factory=dict)
    ignored: list[str] = Field(default_factory=list)


def load_run_config(path: Path) -> RunConfig:
    """Read a run.yml. Raises ConfigError that names the file, the key and the value."""
    try:
        content = parse_yaml(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except YamlError as error:
        raise ConfigError(f"{error.place(path)}: is not YAML: {error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8: {error}") from error
    try:
        config = RunConfig.model_validate(_used(content, path))
    except ValidationError as error:
        problem = first_problem(error)
        value = shorten(repr(problem.value), _SHOWN_CHARACTERS)
        raise ConfigError(f"{path}: {problem.key or 'the file'}: {problem.message} (value: {value})") from error
    if config.run:
        raise ConfigError(
            f"{path}: run: a flow over another run's answers scores that run: phi3flow score {config.run} "
            f"--flow {config.flow or 'FLOW'}"
        )
    base = path.parent
    return config.model_copy(
        update={
            "flow": str(base / config.flow) if config.flow else None,
            "data": str(base / config.data) if config.data else None,
        }
    )


def _used(content: Any, path: Path) -> Any:
    """Return what a run here is made of: files that stand for a table read, what means nothing here by name.

    Raises ConfigError for a field that only nearly has the name of one.
    """
    if not isinstance(content, dict):
        return content or {}
    fields = {field.alias or name for name, field in RunConfig.model_fields.items()} - {"ignored"}
    used = {name: value for name, value in content.items() if name in fields and value is not None}
    others = [str(name) for name in content if name not in fields]
    for name in set(others).difference(_NOT_USED):
        if near := difflib.get_close_matches(name, sorted(fields), n=1, cutoff=_LIKE):
            raise ConfigError(f"{path}: {name}: there is no such field; {near[0]} is one")
    for name, read in (("environment_variables", _read_dotenv), ("init", _read_json)):
        if isinstance(used.get(name), str):
            used[name] = read(path.parent / used[name], f"{path}: {name}")
    return {**used, "ignored": others}


def _read_dotenv(path: Path, where: str) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        with path.open(encoding="utf-8-sig") as file:
            values = dotenv_values(stream=file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{where}: {path} cannot be read: {type(error).__name__}") from error
    return {name: value for name, value in values.items() if value is not None}


def _read_json(path: Path, where: str) -> Any:
    """Return the content of a JSON file, or of the first line of JSON Lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text.splitlines()[0] if path.suffix == ".jsonl" else text)
    except (OSError, ValueError, IndexError) as error:
        raise ConfigError(f"{where}: {path} cannot be read as JSON: {error}") from error


def parse_pairs(pairs: Iterable[str], *, flag: str) -> dict[str, str]:
    """Turn ``key=value`` words into a dict; quotes around a value are dropped, as ``pf`` does.

    Raises ConfigError for a word that is none, and for a key that is there twice.
    """
    result: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise ConfigError(f"{flag}: {pair!r} is not key=value")
        if key in result:
            raise ConfigError(f"{flag}: {key} is given twice")
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        result[key] = value
    return result
