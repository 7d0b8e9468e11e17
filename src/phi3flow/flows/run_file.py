"""run.yml, and the ``key=value`` words of the flags that stand for its tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phi3flow.errors import ConfigError
from phi3flow.records.validation import first_problem
from phi3flow.records.yaml_text import YamlError, parse_yaml
from phi3flow.text import shorten

_SHOWN_CHARACTERS = 80


class RunConfig(BaseModel):
    """``run.yml`` as ``pf run create --file`` reads it; paths are relative to the file."""

    model_config = ConfigDict(extra="forbid")

    schema_: str | None = Field(default=None, alias="$schema")
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    tags: dict[str, Any] = Field(default_factory=dict)
    flow: str | None = None
    data: str | None = None
    variant: str | None = None
    column_mapping: dict[str, Any] = Field(default_factory=dict)
    connections: dict[str, dict[str, str]] = Field(default_factory=dict)
    environment_variables: dict[str, str] = Field(default_factory=dict)
    init: dict[str, Any] = Field(default_factory=dict)


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
        config = RunConfig.model_validate(content or {})
    except ValidationError as error:
        problem = first_problem(error)
        value = shorten(repr(problem.value), _SHOWN_CHARACTERS)
        raise ConfigError(f"{path}: {problem.key or 'the file'}: {problem.message} (value: {value})") from error
    base = path.parent
    return config.model_copy(
        update={
            "flow": str(base / config.flow) if config.flow else None,
            "data": str(base / config.data) if config.data else None,
        }
    )


def parse_pairs(pairs: Iterable[str], *, flag: str) -> dict[str, str]:
    """Turn ``key=value`` words into a dict; quotes around a value are dropped, as ``pf`` does."""
    result: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise ConfigError(f"{flag}: {pair!r} is not key=value")
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        result[key] = value
    return result
