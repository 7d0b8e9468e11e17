"""Which specification speaks of a request: swagger or bicep's types of its api-version, else the nearest swagger."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from pathlib import Path

from tests.azure.documents import Documents
from tests.azure.emulator.messages import Request
from tests.azure.swagger import Operation, is_arm, operations, root_of, short_name

_SWAGGER = "azure-rest-api-specs/specification"
_RESOURCES = "microsoft.resources"
_OPENAI, _PROMPT_FLOW = "azureopenai", "promptflow"

_OPENAI_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")

_NEWER_OPENAI = re.compile(r"(/api/projects/[^/]+)?/openai/v1(?=/)")
"""What paths begin with in the newer form, which has no api-version; the files speak of the older one."""

_FRONT_END = "/mferp/managementfrontend"
"""Where a region's own front end takes what the resource manager takes; azure-ai-ml goes there for registries."""


@dataclass(frozen=True)
class Found:
    """The operation of a request; None where its api-version has none for what it asks of a known resource type."""

    operation: Operation | None
    is_exact: bool
    source: str


@dataclass
class Family:
    """The specification files of one service, by api-version; swagger of the version "" is that of all versions."""

    swagger: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    bicep: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


class Catalogue:
    """The specifications of a folder; its files are listed when one is first asked for, and read when needed."""

    def __init__(self, folder: Path, documents: Documents) -> None:
        self._folder, self._documents = folder, documents
        self._operations: dict[str, list[Operation]] = {}

    @cached_property
    def _families(self) -> dict[str, Family]:
        families: defaultdict[str, Family] = defaultdict(Family)
        for plane in ("*/resource-manager/*/*/*/*.json", "*/data-plane/AzureOpenAI/*/*/*/*.json"):
            for path in sorted((self._folder / _SWAGGER).glob(plane)):
                name = _OPENAI if "data-plane" in plane else path.parts[-4].lower()
                families[name].swagger[path.parts[-2]].append(str(path.relative_to(self._folder)))
        for path in sorted((self._folder / "bicep-types").glob("*@*.json")):
            name, _, version = path.stem.partition("@")
            families[name].bicep[version].append(str(path.relative_to(self._folder)))
        if (self._folder / "promptflow-azure/swagger.json").is_file():
            families[_PROMPT_FLOW].swagger[""] = ["promptflow-azure/swagger.json"]
        return dict(families)

    def find(self, request: Request, version: str) -> Found | None:
        """What speaks of the request, or None where nothing does."""
        path = path_of(request)
        for name in _services_of(request, path):
            if name in self._families and (found := self._find_in(self._families[name], request.method, path, version)):
                return found
        return None

    def _find_in(self, family: Family, method: str, path: str, version: str) -> Found | None:
        same, types = family.swagger.get(version) or family.swagger.get("", []), family.bicep.get(version, [])
        for files in (same, types):
            if operation := _best(self._all(files), method, path):
                return Found(operation, True, operation.source)
        for other in [] if same else sorted(family.swagger, key=lambda one: _distance(one, version)):
            if operation := _best(self._all(family.swagger[other]), method, path):
                return Found(operation, False, f"nearest: {operation.source}")
        # A GET may be of an address that a reply gave, as that of an operation under way: no specification has it.
        complete = [] if method in ("GET", "HEAD") else same or (types if method == "PUT" else [])
        if any(root_of(operation.template) == root_of(path) for operation in self._all(complete)):
            return Found(None, True, short_name(complete[0]))
        return None

    def _all(self, files: Iterable[str]) -> Sequence[Operation]:
        for file in files:
            if file not in self._operations:
                self._operations[file] = operations(self._documents, file)
        return [operation for file in files for operation in self._operations[file]]


def is_unversioned(request: Request) -> bool:
    """Whether the request is of Azure OpenAI's newer form, which has no api-version."""
    return bool(_NEWER_OPENAI.match(request.path))


def path_of(request: Request) -> str:
    """The request's path as the specifications have it."""
    path = re.sub("/+", "/", request.path).removeprefix(_FRONT_END)
    older = _NEWER_OPENAI.match(path)
    if older:
        path = "/openai" + path[older.end() :].replace("/chat/", "/deployments/any/chat/")
    return path.rstrip("/") or "/"


def _services_of(request: Request, path: str) -> list[str]:
    if path.startswith("/openai/") and request.host.partition(":")[0].endswith(_OPENAI_HOSTS):
        return [_OPENAI]
    if path.startswith("/flow/"):
        return [_PROMPT_FLOW]
    if is_arm(path) and (request.host.startswith("management.") or _FRONT_END in request.path):
        return list(dict.fromkeys([root_of(path).partition("/")[0], _RESOURCES]))
    return []


def _best(candidates: Iterable[Operation], method: str, path: str) -> Operation | None:
    fitting = (one for one in candidates if one.method == method and one.values(path) is not None)
    return max(fitting, key=lambda one: one.n_fixed, default=None)


def _distance(one: str, other: str) -> tuple[int, bool, str]:
    days = abs(_day(one) - _day(other)).days
    return days, ("preview" in one) != ("preview" in other), one


def _day(version: str) -> date:
    try:
        return date.fromisoformat(version[:10])
    except ValueError:
        return date.max  # said to be no version at all, it is nearest to the newest
