"""Checks a value against a schema as Azure's services read one: subtypes by discriminator, read-only values let be."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Sequence
from typing import Any

from tests.azure.documents import Documents, Schema, Shape

_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "array": list,
    "object": dict,
}

_DURATION = r"-?P(?=\d|T\d)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?"

_FORMATS = {
    "arm-id": re.compile(r"/.+"),
    "date-time": re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)?"),
    "duration": re.compile(_DURATION),
    "uri": re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+"),
    "url": re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+"),
    "uuid": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
}

_INTEGERS = {"int32": 2**31, "int64": 2**63}

_ANY = ("properties", "allOf", "enum", "additionalProperties", "discriminator")
"""Without any of these, "type: object" is how swagger says that any value will do."""


_MOST_LISTED = 8

_SHORT = reprlib.Repr()
_SHORT.maxstring = 60


class SchemaCheck:
    """Collects ``problems``. Where the schema is of another version (not ``exact``), only missing and ill-typed values.

    Since a version adds and drops names, values and limits, but seldom changes what is required or of what type it is.
    """

    def __init__(self, documents: Documents, *, exact: bool) -> None:
        self._documents, self._exact = documents, exact
        self.problems: list[str] = []

    def check(self, schema: Schema, value: Any, path: str) -> None:
        """Add what is wrong with the value, which stands at ``path``."""
        schema = self._documents.resolve(schema)
        alternatives = schema.get("oneOf") or schema.get("anyOf")
        wanted = schema.get("type") or ("object" if any(key in schema for key in _ANY if key != "enum") else None)
        if alternatives:
            self._check_alternatives(alternatives, value, path)
        elif _is_free(schema):
            return
        elif value is None:
            if not _is_nullable(schema):
                self._report(path, value, "may not be null")
        elif wanted and not _is_a(wanted, value):
            self._report(path, value, f"is no {wanted}")
        elif wanted == "object":
            self._check_object(schema, value, path)
        else:
            if wanted == "array":
                for index, item in enumerate(value):
                    self.check(schema.get("items", {}), item, f"{path}[{index}]")
            if self._exact:
                self._check_limits(schema, value, path)

    def _report(self, path: str, value: Any, what: str) -> None:
        self.problems.append(f"{path}: {_SHORT.repr(value)} {what}")

    def _check_alternatives(self, alternatives: Sequence[Schema], value: Any, path: str) -> None:
        for alternative in alternatives:
            trial = SchemaCheck(self._documents, exact=self._exact)
            trial.check(alternative, value, path)
            if not trial.problems:
                return
        self._report(path, value, f"fits none of {len(alternatives)} alternatives")

    def _check_object(self, schema: Schema, value: dict[str, Any], path: str) -> None:
        shape = self._shape_of(schema, value, path)
        for name in sorted(shape.required - value.keys()):
            if not self._is_read_only(shape.properties.get(name, {})):
                self.problems.append(f"{path}{_step(name)}: is missing")
        for name, item in value.items():
            if name in shape.properties:
                self._check_property(shape, name, item, path)
            elif shape.additional is not None:
                self.check(shape.additional, item, path + _step(name))
            elif shape.is_closed and self._exact:
                self._report_unknown(shape, name, item, path)

    def _shape_of(self, schema: Schema, value: dict[str, Any], path: str) -> Shape:
        """The shape of the subtype that the value names."""
        shape = self._documents.shape(schema)
        if shape.discriminator is None:
            return shape
        variants = self._documents.variants(schema)
        name = value.get(shape.discriminator)
        if isinstance(name, str) and name in variants:
            return self._documents.shape(variants[name])
        if self._exact and name is not None:
            self._report(path + _step(shape.discriminator), name, f"is none of {_listing(sorted(variants))}")
        # What cannot be told apart has the common properties for certain, and any others.
        properties = {key: one for key, one in shape.properties.items() if name is None or key != shape.discriminator}
        return Shape(properties, shape.required, {}, False, None)

    def _check_property(self, shape: Shape, name: str, item: Any, path: str) -> None:
        schema = self._documents.resolve(shape.properties[name])
        if self._is_read_only(schema) or (item is None and name not in shape.required):
            return
        self.check(schema, item, path + _step(name))

    def _is_read_only(self, schema: Schema) -> bool:
        schema = self._documents.resolve(schema)
        return bool(schema.get("readOnly")) or schema.get("x-ms-mutability") == ["read"]

    def _report_unknown(self, shape: Shape, name: str, item: Any, path: str) -> None:
        meant = difflib.get_close_matches(name, shape.properties, n=1)
        self._report(path + _step(name), item, "is of no known property" + (f"; meant: {meant[0]}?" if meant else ""))

    def _check_limits(self, schema: Schema, value: Any, path: str) -> None:
        if "enum" in schema and not _is_listed(schema, value):
            self._report(path, value, f"is none of {_listing(schema['enum'])}")
        if isinstance(value, str):
            self._check_text(schema, value, path)
        if isinstance(value, str | list):
            noun = "characters" if isinstance(value, str) else "items"
            least, most = ("minLength", "maxLength") if isinstance(value, str) else ("minItems", "maxItems")
            if len(value) < schema.get(least, 0):
                self._report(path, value, f"has fewer than {schema[least]} {noun}")
            if len(value) > schema.get(most, len(value)):
                self._report(path, value, f"has more than {schema[most]} {noun}")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._check_number(schema, value, path)

    def _check_text(self, schema: Schema, value: str, path: str) -> None:
        if "pattern" in schema and not re.search(schema["pattern"], value):
            self._report(path, value, f"does not match {schema['pattern']}")
        known = _FORMATS.get(schema.get("format", ""))
        if known and not known.fullmatch(value):
            self._report(path, value, f"is no {schema['format']}")

    def _check_number(self, schema: Schema, value: float, path: str) -> None:
        limit = _INTEGERS.get(schema.get("format", ""))
        if limit and not -limit <= value < limit:
            self._report(path, value, f"is no {schema['format']}")
        if value < schema.get("minimum", value):
            self._report(path, value, f"is less than {schema['minimum']}")
        if value > schema.get("maximum", value):
            self._report(path, value, f"is more than {schema['maximum']}")


def _is_free(schema: Schema) -> bool:
    return schema.get("type", "object") == "object" and not any(key in schema for key in _ANY)


def _is_nullable(schema: Schema) -> bool:
    return bool(schema.get("x-nullable") or schema.get("nullable"))


def _is_a(wanted: str, value: Any) -> bool:
    if wanted in ("integer", "number") and isinstance(value, bool):
        return False
    return isinstance(value, _TYPES.get(wanted, object))


def _is_listed(schema: Schema, value: Any) -> bool:
    listed = schema["enum"]
    if isinstance(value, str) and schema.get("x-ms-enum", {}).get("modelAsString"):
        return value.lower() in [str(one).lower() for one in listed]
    return value in listed


def _listing(values: Sequence[Any]) -> str:
    return ", ".join([*map(repr, values[:_MOST_LISTED]), *(["…"] if len(values) > _MOST_LISTED else [])])


def _step(name: str) -> str:
    return f".{name}" if re.fullmatch(r"[\w$-]+", name) else f"[{name!r}]"
