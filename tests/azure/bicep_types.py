"""Bicep's types of one namespace and api-version, turned back into the swagger that they were made from.

They exist for versions whose swagger is not at hand. Lost on the way is what only swagger says: formats, which
numbers are whole, what may be null, and every operation but the PUT of a resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_REQUIRED, _READ_ONLY, _IN_THE_PATH = 1, 2, 8
"""Flags of a property; one that is known when the template is deployed (8) stands in the path, not in the body."""

_STRING_RULES = ("minLength", "maxLength", "pattern")

Type = Mapping[str, Any]


def as_swagger(types: Sequence[Type], file: str) -> dict[str, Any]:
    """A swagger document with the PUT, GET and DELETE of each resource type; ``file`` is what references begin with."""
    document: dict[str, Any] = {"paths": {}, "definitions": {}}
    for number, one in enumerate(types):
        if one["$type"] == "ResourceType":
            template, operations = _operations(types, one)
            document["paths"][template] = operations
        elif one["$type"] == "DiscriminatedObjectType":
            document["definitions"] |= _polymorphic(one, number, file)
        else:
            document["definitions"][str(number)] = _schema(types, one)
    return document


def _operations(types: Sequence[Type], resource: Type) -> tuple[str, dict[str, Any]]:
    names = {one["name"].partition("@")[0]: one for one in types if one["$type"] == "ResourceType"}
    full_name = resource["name"].partition("@")[0]
    namespace, *kinds = full_name.split("/")
    template = f"/{{scope}}/providers/{namespace}"
    parameters: list[dict[str, Any]] = [{"name": "api-version", "in": "query"}]
    for depth, kind in enumerate(kinds, 1):
        template += f"/{kind}/{{{kind}}}"
        if parent := names.get("/".join([namespace, *kinds[:depth]])):
            parameters.append({"name": kind, "in": "path", "schema": _name_rule(types, parent)})
    body = {"name": "body", "in": "body", "required": True, "schema": resource["body"]}
    bare = {"parameters": parameters}
    return template, {"put": {"parameters": [*parameters, body]}, "get": bare, "delete": bare}


def _name_rule(types: Sequence[Type], resource: Type) -> dict[str, Any]:
    body = types[_number(resource["body"])]
    properties = body.get("properties") or body["baseProperties"]
    return dict(properties["name"]["type"])


def _number(reference: Type) -> int:
    return int(reference["$ref"].rpartition("/")[2])


def _schema(types: Sequence[Type], one: Type) -> dict[str, Any]:
    match one["$type"]:
        case "ObjectType":
            return _object(one["properties"], one.get("additionalProperties"))
        case "ArrayType":
            return {"type": "array", "items": one["itemType"]}
        case "UnionType":
            return _union([types[_number(element)] for element in one["elements"]])
        case "StringLiteralType":
            return {"type": "string", "enum": [one["value"]]}
        case "StringType":
            return {"type": "string", **{rule: one[rule] for rule in _STRING_RULES if rule in one}}
        case "IntegerType":  # stands for fractions, too
            return {"type": "number"} | ({"minimum": one["minValue"]} if "minValue" in one else {})
        case "BooleanType":
            return {"type": "boolean"}
        case _:
            return {}


def _union(elements: Sequence[Type]) -> dict[str, Any]:
    literals = [element["value"] for element in elements if element["$type"] == "StringLiteralType"]
    is_open = len(literals) < len(elements)
    return {"type": "string", "enum": literals, "x-ms-enum": {"modelAsString": is_open}}


def _object(properties: Mapping[str, Any], additional: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            name: {**one["type"], "readOnly": bool(one["flags"] & _READ_ONLY)} for name, one in properties.items()
        },
        "required": [
            name for name, one in properties.items() if one["flags"] & _REQUIRED and not one["flags"] & _IN_THE_PATH
        ],
    }
    return schema | ({} if additional is None else {"additionalProperties": additional})


def _polymorphic(one: Type, number: int, file: str) -> dict[str, Any]:
    base = _object(one["baseProperties"], None) | {"discriminator": one["discriminator"]}
    base["required"].append(one["discriminator"])
    variants = {
        f"{number}:{value}": {
            "allOf": [{"$ref": f"{file}#/definitions/{number}"}, element],
            "x-ms-discriminator-value": value,
        }
        for value, element in one["elements"].items()
    }
    return {str(number): base, **variants}
