"""Operations of a specification file, in the form that swagger 2.0, OpenAPI 3.0 and bicep's types have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.azure.documents import Documents, Schema

_METHODS = ("get", "head", "put", "patch", "post", "delete")

_OF_ARM = re.compile(r"/(subscriptions|providers|\{)", re.IGNORECASE)

_ANY_RESOURCE = re.compile(r"/\{\w+\}|.*\{parentResourcePath\}.*")
"""Templates that fit any resource of any provider, and so say nothing about one."""


@dataclass(frozen=True)
class Parameter:
    """A parameter in the ``path`` or the ``query``."""

    name: str
    place: str
    required: bool
    schema: Schema


@dataclass(frozen=True)
class Operation:
    """What may be sent to one path with one method; ``body`` is None where nothing may."""

    name: str
    method: str
    template: str
    pattern: re.Pattern[str]
    parameters: tuple[Parameter, ...]
    body: Schema | None
    body_required: bool
    source: str

    @property
    def n_fixed(self) -> int:
        """How many fixed steps the template has; of two that fit a path, the one with more is meant."""
        return sum(not step.startswith("{") for step in self.template.split("/"))

    def values(self, path: str) -> dict[str, str] | None:
        """The path's parameters by name, or None where the path is not this operation's."""
        match = self.pattern.fullmatch(path)
        return dict(zip(re.findall(r"\{([^}]+)\}", self.template), match.groups(), strict=True)) if match else None


def operations(documents: Documents, file: str) -> list[Operation]:
    """All operations of a file."""
    document = documents.load(file)
    prefix = _prefix(document)
    listed = []
    for template, item in document.get("paths", {}).items():
        if _ANY_RESOURCE.fullmatch(template):
            continue
        template = prefix + template.rstrip("/")
        for method in _METHODS:
            if method in item:
                listed.append(_operation(documents, file, template, method, item))
    return listed


def _operation(documents: Documents, file: str, template: str, method: str, item: Schema) -> Operation:
    """Return one method of a path's ``item``, which may have parameters that all of its methods share."""
    operation = item[method]
    listed = [*item.get("parameters", []), *operation.get("parameters", [])]
    parameters = [documents.resolve(parameter) for parameter in listed]
    body, body_required = _body(documents, operation, parameters)
    return Operation(
        f"{method.upper()} {kind_of(template)}" if is_arm(template) else operation["operationId"],
        method.upper(),
        template,
        _pattern(template),
        tuple(
            Parameter(row["name"], row["in"], bool(row.get("required")), row.get("schema", row))
            for row in parameters
            if row["in"] in ("path", "query")
        ),
        body,
        body_required,
        short_name(file),
    )


def short_name(file: str) -> str:
    """The end of a file's path, which says the version, too."""
    return "/".join(file.split("/")[-2:])


def _body(documents: Documents, operation: Schema, parameters: list[Schema]) -> tuple[Schema | None, bool]:
    for parameter in parameters:
        if parameter["in"] == "body":
            return parameter["schema"], bool(parameter.get("required"))
    request = documents.resolve(operation.get("requestBody", {}))
    schema = request.get("content", {}).get("application/json", {}).get("schema")
    return schema, bool(request.get("required"))


def _prefix(document: Mapping[str, Any]) -> str:
    """What every path of a data plane begins with."""
    host: str = document.get("x-ms-parameterized-host", {}).get("hostTemplate", "")
    for server in document.get("servers", ()):
        host = server["url"].partition("://")[2]
    _, slash, path = host.partition("/")
    return (slash + path).rstrip("/")


def _pattern(template: str) -> re.Pattern[str]:
    fixed = re.split(r"\{[^}]+\}", template)
    expression = "([^/]+)".join(map(re.escape, fixed))
    if template.startswith("/{"):  # a scope: all the segments of another resource, or of none
        expression = expression.replace("/([^/]+)", "(?:/(.+))?", 1)
    return re.compile(expression, re.IGNORECASE if is_arm(template) else 0)


def is_arm(path: str) -> bool:
    """Whether a path or template is of the resource manager, which takes its fixed parts in any case."""
    return bool(_OF_ARM.match(path))


def kind_of(path: str) -> str:
    """The resource type, and the action if there is one, of a path or template of the resource manager."""
    is_template = "{" in path
    namespace, *steps = _after_providers(path)
    if namespace.startswith("{") or "/providers/" not in path.lower():
        namespace, steps = "", path.split("/")[1:]
    fixed = [step for step in steps if not step.startswith("{")] if is_template else steps[::2]
    return "/".join(filter(None, [namespace, *fixed]))


def root_of(path: str) -> str:
    """What all operations of one resource type and of those below it share, in a path as in a template."""
    steps = _after_providers(path) if is_arm(path) else path.split("/")[1:]
    return "/".join(steps[:2]).lower()


def _after_providers(path: str) -> list[str]:
    return re.split("/providers/", path, flags=re.IGNORECASE)[-1].strip("/").split("/")
