"""YAML as promptflow reads it: YAML 1.2 by ruamel.yaml, in which ``yes`` is a text and ``09123`` a number.

What is changed keeps everything else as its author wrote it: quotes, order, comments.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ruamel.yaml import YAML

_BREAKS = frozenset("\x85\u2028\u2029")
_WIDE = 1_000_000  # characters of a line that is not folded


class YamlError(ValueError):
    """A text that is no YAML; ``line`` counts from 1, None where none is known. The problem quotes no values."""

    def __init__(self, problem: str, line: int | None = None) -> None:
        super().__init__(problem)
        self.line = line

    def place(self, path: object) -> str:
        """Return "flow.dag.yaml:3", the file alone where no line is known."""
        return f"{path}:{self.line}" if self.line else str(path)


def parse_yaml(text: str) -> Any:
    """Return the content in dicts, lists and plain scalars; None where there is none. Raises YamlError."""
    return _plain(_load(text), {})


def change_yaml(text: str, change: Callable[[Any], None]) -> str:
    """Return the YAML after ``change`` of its content, with all else as it is written. Raises YamlError."""
    content = _load(text)
    change(content)
    return dump_yaml(content)


def dump_yaml(content: Any) -> str:
    """Return the YAML that ``parse_yaml`` reads as ``content``."""
    from ruamel.yaml.representer import RoundTripRepresenter

    class Representer(RoundTripRepresenter):
        def represent_str(self, data: str) -> Any:
            style = '"' if _BREAKS.intersection(data) else None  # ruamel folds them as line ends in other quotes
            return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Representer.add_representer(str, Representer.represent_str)
    yaml, written = _reader(), io.StringIO()
    yaml.Representer = Representer
    yaml.dump(content, written)
    return written.getvalue()


def _load(text: str) -> Any:
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return _reader().load(text.removeprefix("\ufeff"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(_first_line(error.problem or error.context), mark.line + 1 if mark else None) from error
    except (YAMLError, ValueError, RecursionError) as error:  # ValueError: a date of month 13
        raise YamlError(_first_line(str(error))) from error


def _reader() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _WIDE
    return yaml


def _first_line(problem: str | None) -> str:
    """Return what is wrong; of a key that stands there twice without its values."""
    return (problem or "it cannot be parsed").strip().splitlines()[0].partition(" with value ")[0]


def _plain(value: Any, done: dict[int, Any]) -> Any:
    """Return a value without ruamel's types; what several anchors name is one object still."""
    from ruamel.yaml.comments import TaggedScalar
    from ruamel.yaml.scalarbool import ScalarBoolean

    if id(value) in done:
        return done[id(value)]
    if isinstance(value, dict):
        mapping = done[id(value)] = {}
        mapping.update((_plain(key, done), _plain(item, done)) for key, item in value.items())
        return mapping
    if isinstance(value, list | tuple | set):
        items = done[id(value)] = []
        items.extend(_plain(item, done) for item in value)
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, TaggedScalar):
        return str(value.value)
    if isinstance(value, datetime):
        return datetime.fromisoformat(value.isoformat())
    for kind in (str, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, ScalarBoolean):
        return bool(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value
