"""Holds recorded requests against Microsoft's own specifications, so that what an emulator accepts, Azure does too.

The specifications lie in the folder that AZURE_SPECS_DIR names; its README.md says what they are. Not covered are
storage, run history, scoring, multipart uploads and what stands inside an ARM template.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import reprlib
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.azure.catalogue import Catalogue, is_unversioned, path_of
from tests.azure.documents import Documents
from tests.azure.emulator.messages import Request, ServiceError
from tests.azure.schema_check import SchemaCheck
from tests.azure.swagger import Operation, is_arm, kind_of

_WITH_BODY = ("PUT", "PATCH", "POST")


@dataclass(frozen=True)
class Checked:
    """What a specification says of one request; ``source`` is its file, ``problems`` are empty where all is well."""

    operation: str
    api_version: str
    source: str
    problems: list[str]


class Covered(NamedTuple):
    """An operation that was asked for, and what it was held against."""

    operation: str
    api_version: str
    source: str


@dataclass
class Validation:
    """What came of many requests; ``n_bodies`` counts the bodies that were checked, ``n_requests`` all requests."""

    n_requests: int = 0
    n_bodies: int = 0
    operations: Counter[Covered] = field(default_factory=Counter)
    uncovered: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Specifications:
    """Microsoft's specifications in a folder; nothing is read before a request needs it."""

    def __init__(self, folder: Path) -> None:
        self._documents = Documents(folder)
        self._catalogue = Catalogue(folder, self._documents)

    def check(self, request: Request) -> Checked | None:
        """What is wrong with a request, or None where no specification covers it."""
        if request.headers.get("content-type", "").startswith("multipart/"):
            return None
        query = {name.lower(): value for name, value in request.query.items()}
        version = query.get("api-version", "")
        found = self._catalogue.find(request, version)
        if found is None:
            return None
        if found.operation is None:
            path = path_of(request)
            name = f"{request.method} {kind_of(path) if is_arm(path) else path}"
            return Checked(name, version, found.source, [f"path: {path!r} fits no {request.method} of this version"])
        check = SchemaCheck(self._documents, exact=found.is_exact)
        if is_unversioned(request):
            query = {"api-version": "", **query}
        self._check_parameters(check, found.operation, path_of(request), query)
        _check_body(check, found.operation, request, is_exact=found.is_exact)
        return Checked(found.operation.name, version, found.source, check.problems)

    def _check_parameters(self, check: SchemaCheck, operation: Operation, path: str, query: Mapping[str, str]) -> None:
        given = operation.values(path) or {}
        for one in operation.parameters:
            value = given.get(one.name) if one.place == "path" else query.get(one.name.lower())
            if value is not None:
                wanted = self._documents.resolve(one.schema).get("type", "string")
                check.check(one.schema, _typed(value, wanted), f"{one.place} {one.name}")
            elif one.required and one.place == "query":
                check.problems.append(f"query {one.name}: is missing")


def _typed(text: str, wanted: str) -> Any:
    if wanted == "array":
        return text.split(",")
    if wanted in ("integer", "number", "boolean"):
        with contextlib.suppress(ValueError):
            return json.loads(text.lower())
    return text


def _check_body(check: SchemaCheck, operation: Operation, request: Request, *, is_exact: bool) -> None:
    if request.method not in _WITH_BODY:
        return
    if not request.body:
        if operation.body_required:
            check.problems.append("$: is missing")
        return
    try:
        value = request.json
    except ServiceError:
        check.problems.append(f"$: {reprlib.repr(request.body)} is no JSON")
        return
    if operation.body is not None:
        check.check(operation.body, value, "$")
    elif value and is_exact:
        check.problems.append(f"$: {reprlib.repr(value)} is sent where nothing is asked for")


def validate(requests: Iterable[Request], folder: Path) -> Validation:
    """Hold all requests against the specifications in the folder; a problem is told with the operation it is in."""
    specifications, validation = Specifications(folder), Validation()
    for request in requests:
        validation.n_requests += 1
        checked = specifications.check(request)
        if checked is None:
            validation.uncovered[_outline(request)] += 1
            continue
        validation.n_bodies += request.method in _WITH_BODY and bool(request.body)
        validation.operations[Covered(checked.operation, checked.api_version, checked.source)] += 1
        heading = " ".join(filter(None, [checked.operation, checked.api_version]))
        validation.problems += [f"{heading} ({checked.source}): {problem}" for problem in checked.problems]
    return validation


def _outline(request: Request) -> str:
    """What a request is about, without the names that every run makes up anew."""
    path = path_of(request)
    steps = kind_of(path) if is_arm(path) else "/".join(path.split("/")[1:3])
    return f"{request.method} {request.host}/{steps}"


def read_requests(path: Path) -> Iterator[Request]:
    """The recorded requests of a file of JSON lines."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            body = (record["body"] or "").encode()
            yield Request(record["method"], record["host"], record["path"], record["query"], record["headers"], body)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check a file of recorded requests, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.azure.openapi", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE.jsonl", help="recorded requests, a JSON object a line")
    file = parser.parse_args(arguments).file
    return report(lambda: read_requests(file))


def report(requests: Callable[[], Iterable[Request]]) -> int:
    """Say what holding the requests against AZURE_SPECS_DIR finds, or that nothing was run; return the exit code."""
    folder = os.environ.get("AZURE_SPECS_DIR", "")
    if not folder or not Path(folder).is_dir():
        sys.stdout.write("NOT RUN: AZURE_SPECS_DIR names no folder\n")
        return 0
    validation = validate(requests(), Path(folder))
    sys.stdout.writelines(f"{line}\n" for line in _report(validation))
    return 1 if validation.problems else 0


def _report(validation: Validation) -> Iterator[str]:
    for covered, count in sorted(validation.operations.items()):
        yield f"{count:6}  {covered.operation}  {covered.api_version or '-'}  {covered.source}"
    if validation.uncovered:
        yield f"not covered: {validation.uncovered.total()} of {validation.n_requests} requests"
    for outline, count in sorted(validation.uncovered.items()):
        yield f"{count:6}  {outline}"
    if validation.problems:
        yield "problems"
    yield from (f"  {problem}" for problem in validation.problems)
    yield f"validated {validation.n_bodies} bodies, {len(validation.problems)} problems"


if __name__ == "__main__":
    sys.exit(main())
