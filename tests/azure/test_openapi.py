"""The check of recorded requests, on a small service made up here."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator.messages import Request
from tests.azure.openapi import Checked, Covered, Specifications, main, validate

SUBSCRIPTION = "/subscriptions/11111111-2222-3333-4444-555555555555"
GROUP = f"{SUBSCRIPTION}/resourceGroups/rg-demo"
HOST = "management.azure.com"

COMMON = {
    "definitions": {
        "Resource": {
            "type": "object",
            "required": ["location"],
            "properties": {"location": {"type": "string"}, "id": {"type": "string", "readOnly": True}},
        }
    },
    "parameters": {"ApiVersion": {"name": "api-version", "in": "query", "required": True, "type": "string"}},
}

DEFINITIONS: dict[str, Any] = {
    "Shop": {
        "allOf": [{"$ref": "../../../../../common/types.json#/definitions/Resource"}],
        "required": ["properties", "status"],
        "properties": {
            "properties": {"$ref": "#/definitions/Animal"},
            "status": {"type": "string", "readOnly": True},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "anything": {"type": "object"},
        },
    },
    "Animal": {
        "type": "object",
        "discriminator": "kind",
        "required": ["kind"],
        "properties": {
            "kind": {"type": "string", "enum": ["Dog", "Fish"]},
            "age": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 99},
            "size": {"type": "string", "enum": ["Small", "Large"]},
            "mood": {"type": "string", "enum": ["Calm"], "x-ms-enum": {"modelAsString": True}},
            "names": {"type": "array", "maxItems": 2, "items": {"type": "string", "pattern": "^[A-Z]"}},
            "nap": {"type": "string", "format": "duration"},
            "owner": {"$ref": "#/definitions/Owner", "x-nullable": True},
        },
        "additionalProperties": False,
    },
    "Hound": {
        "x-ms-discriminator-value": "Dog",
        "allOf": [{"$ref": "#/definitions/Animal"}],
        "required": ["breed"],
        "properties": {"breed": {"type": "string"}},
        "additionalProperties": False,
    },
    "Fish": {"allOf": [{"$ref": "#/definitions/Animal"}], "properties": {"salt": {"type": "boolean"}}},
    "Owner": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}},
}

NAME_RULE = {"name": "shop", "in": "path", "required": True, "type": "string", "pattern": "^[a-z-]+$", "maxLength": 8}
API_VERSION = {"$ref": "../../../../../common/types.json#/parameters/ApiVersion"}
SHOP = {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/Shop"}}
PETS = {
    "paths": {
        "/{scope}/providers/Microsoft.Pets/shops/{shop}": {
            "parameters": [NAME_RULE, API_VERSION],
            "put": {"parameters": [SHOP]},
            "delete": {"parameters": [{"name": "force", "in": "query", "required": True, "type": "boolean"}]},
        },
        "/{scope}/providers/Microsoft.Pets/shops/{shop}/open": {"post": {"parameters": [NAME_RULE, API_VERSION]}},
        "/{scope}/providers/Microsoft.Pets/shops/{shop}/{anything}": {"post": {"parameters": [NAME_RULE, SHOP]}},
    },
    "definitions": DEFINITIONS,
}


def _bicep(version: str) -> list[dict[str, Any]]:
    """Shops as bicep has them: a name, a place, and a dog or a fish."""

    def one(number: int, flags: int = 0) -> dict[str, Any]:
        return {"type": {"$ref": f"#/{number}"}, "flags": flags}

    return [
        {"$type": "StringType"},
        {"$type": "StringType", "pattern": "^[a-z-]+$", "maxLength": 8},
        {"$type": "ObjectType", "name": "shops", "properties": {"name": one(1, 9), "location": one(0, 1)} | {
            "id": one(0, 10), "properties": one(3, 1), "sizes": one(8)}},
        {"$type": "DiscriminatedObjectType", "name": "Animal", "discriminator": "kind", "baseProperties": {
            "age": one(7)}, "elements": {"Dog": {"$ref": "#/4"}}},
        {"$type": "ObjectType", "name": "Dog", "properties": {"kind": one(5, 1), "breed": one(0, 1)}},
        {"$type": "StringLiteralType", "value": "Dog"},
        {"$type": "UnionType", "elements": [{"$ref": "#/5"}, {"$ref": "#/0"}]},
        {"$type": "IntegerType", "minValue": 0},
        {"$type": "ArrayType", "itemType": {"$ref": "#/6"}},
        {"$type": "ResourceType", "name": f"Microsoft.Pets/shops@{version}", "body": {"$ref": "#/2"}},
    ]  # fmt: skip


def _write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of specifications: swagger of two versions, and bicep's types of a third."""
    specification = tmp_path / "azure-rest-api-specs/specification"
    _write(specification / "common/types.json", COMMON)
    pets = specification / "pets/resource-manager/Microsoft.Pets"
    _write(pets / "stable/2024-01-01/pets.json", PETS)
    older = copy.deepcopy(PETS)
    older["definitions"]["Animal"]["properties"]["age"]["type"] = "string"
    _write(pets / "preview/2022-01-01-preview/pets.json", older)
    _write(tmp_path / "bicep-types/microsoft.pets@2024-06-01.json", _bicep("2024-06-01"))
    return tmp_path


def _request(method: str, path: str, body: object = None, version: str = "2024-01-01", **query: str) -> Request:
    sent = b"" if body is None else json.dumps(body).encode()
    return Request(method, HOST, path, {"api-version": version, **query}, {}, sent)


def _shop(version: str = "2024-01-01", **animal: object) -> Request:
    body = {"location": "north", "properties": {"kind": "Dog", "breed": "corgi", **animal}}
    return _request("PUT", f"{GROUP}/providers/Microsoft.Pets/shops/main", body, version)


def _check(folder: Path, request: Request) -> Checked:
    checked = Specifications(folder).check(request)
    assert checked is not None
    return checked


def test_a_right_request_has_no_problem(folder: Path) -> None:
    checked = _check(folder, _shop(age=3, size="Small", mood="CALM", names=["Ada"], nap="PT5M", owner=None))
    assert checked == Checked("PUT Microsoft.Pets/shops", "2024-01-01", "2024-01-01/pets.json", [])


@pytest.mark.parametrize(
    ("animal", "problem"),
    [
        ({"kind": "Cat"}, "$.properties.kind: 'Cat' is none of 'Dog', 'Fish'"),
        ({"kind": ["Dog"]}, "$.properties.kind: ['Dog'] is none of 'Dog', 'Fish'"),
        ({"bread": "rye"}, "$.properties.bread: 'rye' is of no known property; meant: breed?"),
        ({"salt": True}, "$.properties.salt: True is of no known property"),
        ({"age": "3"}, "$.properties.age: '3' is no integer"),
        ({"age": True}, "$.properties.age: True is no integer"),
        ({"age": -1}, "$.properties.age: -1 is less than 0"),
        ({"size": "small"}, "$.properties.size: 'small' is none of 'Small', 'Large'"),
        ({"mood": "wild"}, "$.properties.mood: 'wild' is none of 'Calm'"),
        ({"names": ["ada"]}, "$.properties.names[0]: 'ada' does not match ^[A-Z]"),
        ({"names": ["A", "B", "C"]}, "$.properties.names: ['A', 'B', 'C'] has more than 2 items"),
        ({"nap": "5 min"}, "$.properties.nap: '5 min' is no duration"),
        ({"owner": {}}, "$.properties.owner.name: is missing"),
        ({"owner": {"name": None}}, "$.properties.owner.name: None may not be null"),
        ({"owner": "Ada"}, "$.properties.owner: 'Ada' is no object"),
    ],
)
def test_what_is_wrong_with_a_body(folder: Path, animal: dict[str, Any], problem: str) -> None:
    assert _check(folder, _shop(**animal)).problems == [problem]


def test_what_a_base_in_another_file_requires_is_missed(folder: Path) -> None:
    body = {"properties": {"kind": "Fish", "salt": True}, "status": 3, "tags": {"a": 1}, "anything": [1], "id": None}
    checked = _check(folder, _request("PUT", "/providers/Microsoft.Pets/shops/main", body))
    assert checked.problems == ["$.location: is missing", "$.tags.a: 1 is no string"]


def test_a_subtype_that_is_not_named_is_held_against_the_base(folder: Path) -> None:
    request = _request("PUT", "/providers/Microsoft.Pets/shops/main", {"location": "x", "properties": {"age": "3"}})
    assert _check(folder, request).problems == ["$.properties.kind: is missing", "$.properties.age: '3' is no integer"]


def test_fixed_parts_of_a_path_are_taken_in_any_case_and_double_slashes_as_one(folder: Path) -> None:
    request = _request("POST", f"/{GROUP}/PROVIDERS/microsoft.pets/Shops/main/OPEN")
    checked = _check(folder, request)
    assert (checked.operation, checked.problems) == ("POST Microsoft.Pets/shops/open", [])


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (_request("DELETE", "/providers/Microsoft.Pets/shops/main"), "query force: is missing"),
        (_request("DELETE", "/providers/Microsoft.Pets/shops/main", force="1"), "query force: 1 is no boolean"),
        (_request("DELETE", "/providers/Microsoft.Pets/shops/M", force="true"), "path shop: 'M' does not match"),
        (_request("DELETE", "/providers/Microsoft.Pets/shops/a-long-name", force="true"), "has more than 8 characters"),
        (_request("PUT", "/providers/Microsoft.Pets/shops/main"), "$: is missing"),
        (_request("PATCH", "/providers/Microsoft.Pets/shops/main", {}), "fits no PATCH of this version"),
        (_request("PUT", "/providers/Microsoft.Pets/shops/main/toys/1", {}), "fits no PUT of this version"),
        (_request("POST", "/providers/Microsoft.Pets/shops/main/open", {"a": 1}), "is sent where nothing is asked for"),
        (Request("PUT", HOST, "/providers/Microsoft.Pets/shops/a", {"api-version": "2024-01-01"}, {}, b"{"), "no JSON"),
        (Request("POST", HOST, "/providers/Microsoft.Pets/shops/main/open"), "query api-version: is missing"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_wrong_around_a_body(folder: Path, request_: Request, problem: str) -> None:
    (found,) = _check(folder, request_).problems
    assert problem in found


@pytest.mark.parametrize(
    "request_",
    [
        Request("PUT", "demo.blob.core.windows.net", "/container/file"),
        Request("POST", "demo.eastus.inference.ml.azure.com", "/score"),
        _request("GET", f"{SUBSCRIPTION}/providers/Microsoft.Pets/locations/north/operations/1"),
        _request("PUT", f"{GROUP}/providers/Microsoft.Plants/trees/oak", {}),
        Request("POST", HOST, "/providers/Microsoft.Pets/shops/a/open", headers={"content-type": "multipart/mixed"}),
    ],
    ids=str,
)
def test_what_no_specification_covers(folder: Path, request_: Request) -> None:
    assert Specifications(folder).check(request_) is None


def test_bicep_types_stand_in_for_a_version_without_swagger(folder: Path) -> None:
    checked = _check(folder, _shop("2024-06-01", age=0.5))
    assert (checked.source, checked.problems) == ("bicep-types/microsoft.pets@2024-06-01.json", [])
    wrong = _shop("2024-06-01", age="3", bread="rye", breed=None)
    assert _check(folder, wrong).problems == [
        "$.properties.breed: None may not be null",
        "$.properties.age: '3' is no number",
        "$.properties.bread: 'rye' is of no known property; meant: breed?",
    ]
    body = {"sizes": ["Dog", "Cat"], "properties": {"kind": "Cat"}}
    assert _check(
        folder, _request("PUT", f"{GROUP}/providers/Microsoft.Pets/shops/M", body, "2024-06-01")
    ).problems == [
        "path shops: 'M' does not match ^[a-z-]+$",
        "$.location: is missing",
        "$.sizes[1]: 'Cat' is none of 'Dog'",
        "$.properties.kind: 'Cat' is none of 'Dog'",
    ]


def test_of_the_nearest_version_only_missing_and_ill_typed_values_count(folder: Path) -> None:
    checked = _check(folder, _shop("2023-12-01", age="3", size="Huge", bread="rye", nap="soon"))
    assert checked.source == "nearest: 2024-01-01/pets.json"
    assert checked.problems == ["$.properties.age: '3' is no integer"]
    assert _check(folder, _shop("2022-05-01", age="3", breed=2)).problems == ["$.properties.breed: 2 is no string"]
    assert _check(folder, _shop("2022-05-01", kind="Cat", age="3")).source == "nearest: 2022-01-01-preview/pets.json"


def test_validation_counts_and_names_what_it_saw(folder: Path) -> None:
    elsewhere = Request("PUT", "demo.blob.core.windows.net", "/container/folder/file", body=b"x")
    validation = validate([_shop(), _shop(age="3"), elsewhere, _request("GET", GROUP)], folder)
    assert (validation.n_requests, validation.n_bodies) == (4, 2)
    assert validation.operations == {Covered("PUT Microsoft.Pets/shops", "2024-01-01", "2024-01-01/pets.json"): 2}
    assert validation.uncovered == {
        "PUT demo.blob.core.windows.net/container/folder": 1,
        f"GET {HOST}/subscriptions/resourceGroups": 1,
    }
    place = "PUT Microsoft.Pets/shops 2024-01-01 (2024-01-01/pets.json)"
    assert validation.problems == [f"{place}: $.properties.age: '3' is no integer"]


def test_the_command_prints_what_it_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = tmp_path / "requests.jsonl"
    asked = [_shop(), _shop(age="3"), Request("GET", "elsewhere.net", "/")]
    records.write_text("".join(f"{_record(one)}\n" for one in asked), encoding="utf-8")
    monkeypatch.setenv("AZURE_SPECS_DIR", str(folder))
    assert main([str(records)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "     2  PUT Microsoft.Pets/shops  2024-01-01  2024-01-01/pets.json",
        "not covered: 1 of 3 requests",
        "     1  GET elsewhere.net/",
        "problems",
        "  PUT Microsoft.Pets/shops 2024-01-01 (2024-01-01/pets.json): $.properties.age: '3' is no integer",
        "validated 2 bodies, 1 problems",
    ]
    monkeypatch.delenv("AZURE_SPECS_DIR")
    assert main([str(records)]) == 0
    assert capsys.readouterr().out == "NOT RUN: AZURE_SPECS_DIR names no folder\n"


def _record(request: Request) -> str:
    body = request.body.decode() or None
    return json.dumps({**{name: getattr(request, name) for name in _RECORDED}, "body": body})


_RECORDED = ("method", "host", "path", "query", "headers")
