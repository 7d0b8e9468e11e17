"""Specification files: read when they are first needed, with references followed within and across files."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.azure.bicep_types import as_swagger

Schema = Mapping[str, Any]

_INHERITED = ("type", "enum", "x-ms-enum", "format", "pattern", "items")
"""What a schema that only wraps another one (``allOf`` with a description) has of it."""


@dataclass(frozen=True)
class Shape:
    """What an object may and must hold, with all that ``allOf`` adds.

    ``additional`` is the schema of properties with other names; without one, they are wrong where it ``is_closed``.
    """

    properties: Mapping[str, Schema]
    required: frozenset[str]
    additional: Schema | None
    is_closed: bool
    discriminator: str | None


class Documents:
    """All files of a folder. A reference is "FILE#/POINTER" once its file is read, and means the same everywhere."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, dict[str, Any]] = {}
        self._subtypes: defaultdict[str, list[str]] = defaultdict(list)
        self._shapes: dict[str, Shape] = {}

    def load(self, file: str) -> dict[str, Any]:
        """The file of that path below the folder; types for bicep come as the swagger that they were made from."""
        if file not in self._files:
            content = json.loads((self._folder / file).read_bytes(), object_hook=_Absolute(file))
            self._files[file] = document = as_swagger(content, file) if isinstance(content, list) else content
            self._name_definitions(file, document)
        return self._files[file]

    def _name_definitions(self, file: str, document: dict[str, Any]) -> None:
        modern = document.get("components", {}).get("schemas", {})
        place, definitions = ("components/schemas", modern) if modern else ("definitions", document.get("definitions"))
        for name, definition in (definitions or {}).items():
            definition["$self"] = reference = f"{file}#/{place}/{name}"
            for base in (part["$ref"] for part in definition.get("allOf", ()) if "$ref" in part):
                self._subtypes[base].append(reference)

    def resolve(self, schema: Schema) -> Schema:
        """The schema that is meant: references are followed, and what stands beside them stays."""
        while "$ref" in schema:
            beside = {key: value for key, value in schema.items() if key != "$ref"}
            schema = {**self._at(schema["$ref"]), **beside}
        for part in schema.get("allOf", ()):
            found = self.resolve(part)
            schema = {**{key: found[key] for key in _INHERITED if key in found}, **schema}
        return schema

    def _at(self, reference: str) -> Schema:
        file, _, pointer = reference.partition("#")
        target: dict[str, Any] = self.load(file)
        for key in pointer.split("/")[1:]:
            target = target[key.replace("~1", "/").replace("~0", "~")]
        return target

    def shape(self, schema: Schema) -> Shape:
        """The shape of an object schema."""
        schema = self.resolve(schema)
        own = schema.get("$self", "")
        if own not in self._shapes:
            shape = self._merged(schema)
            if not own:
                return shape
            self._shapes[own] = shape
        return self._shapes[own]

    def _merged(self, schema: Schema) -> Shape:
        bases = [self.shape(part) for part in schema.get("allOf", ())]
        properties = {name: value for base in bases for name, value in base.properties.items()}
        properties |= schema.get("properties", {})
        # Each part of an allOf may say false, and does not mean the properties of the others: only schemas count.
        said = schema.get("additionalProperties", False)
        own = {} if said is True else None if said is False else said
        discriminator = schema.get("discriminator")
        if isinstance(discriminator, dict):
            discriminator = discriminator["propertyName"]
        return Shape(
            properties,
            frozenset(schema.get("required", ())).union(*(base.required for base in bases)),
            next((one for one in [own, *(base.additional for base in bases)] if one is not None), None),
            bool(properties) or schema.get("additionalProperties") is False or any(base.is_closed for base in bases),
            discriminator or next((base.discriminator for base in bases if base.discriminator), None),
        )

    def variants(self, schema: Schema) -> dict[str, Schema]:
        """The schema's subtypes (itself among them where it has a value), by the discriminator's value."""
        own = self.resolve(schema)
        variants = {own["x-ms-discriminator-value"]: own} if "x-ms-discriminator-value" in own else {}
        values = dict(self._mapped(own))
        for reference in self._descendants(own.get("$self", "")):
            name = reference.rpartition("/")[2]
            subtype = self.resolve({"$ref": reference})
            variants[subtype.get("x-ms-discriminator-value", values.get(name, name))] = subtype
        return variants

    def _descendants(self, reference: str) -> Iterator[str]:
        for child in self._subtypes.get(reference, ()):
            yield child
            yield from self._descendants(child)

    @staticmethod
    def _mapped(schema: Schema) -> Iterator[tuple[str, str]]:
        discriminator = schema.get("discriminator")
        if isinstance(discriminator, dict):
            for value, reference in discriminator.get("mapping", {}).items():
                yield reference.rpartition("/")[2], value


class _Absolute:
    """Makes each reference of a file start with a file; an object_hook, since the large files hold thousands."""

    def __init__(self, file: str) -> None:
        self._file, self._folder = file, file.rpartition("/")[0]

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        reference = item.get("$ref")
        if isinstance(reference, str):
            file, _, pointer = reference.partition("#")
            file = os.path.normpath(f"{self._folder}/{file}") if file else self._file
            if pointer[1:].isdecimal():  # a type for bicep, known by its place in the file
                pointer = f"/definitions{pointer}"
            item["$ref"] = f"{file}#{pointer}"
        return item
