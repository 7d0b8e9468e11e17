"""The store of ARM resources by id: PUT and DELETE as long-running operations, lists, parents and conflicts."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.operations import Operation, Operations

Finish = Callable[[dict[str, Any]], None]


class Resources:
    """Resources by id, compared without regard to case; each is the dict that a GET answers.

    A provider's routes call ``put``, ``get``, ``delete`` and ``children``; secrets and other state that no GET shows
    belong into ``hidden``, by lower-case id.
    """

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._resources: dict[str, dict[str, Any]] = {}
        self._running: dict[str, Operation] = {}
        self._lock = threading.RLock()
        self.hidden: dict[str, dict[str, Any]] = {}

    def __contains__(self, resource_id: str) -> bool:
        return resource_id.lower() in self._resources

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(list(self._resources.values()))

    def find(self, resource_id: str) -> dict[str, Any] | None:
        """Return the live resource, None where there is none."""
        return self._resources.get(resource_id.lower())

    def get(self, resource_id: str) -> Reply:
        """Answer a GET; one on a resource in transition counts as a poll of its operation."""
        key = resource_id.lower()
        with self._lock:
            running = self._running.get(key)
            if running:
                running.poll()
            if key not in self._resources:
                raise not_found(resource_id)
            wait = self._operations.wait if running and running.status == "InProgress" else {}
            return Reply(200, copy.deepcopy(self._resources[key]), wait)

    def children(self, resource_id: str, kind: str) -> Reply:
        """Answer the list of a collection, such as ``computes`` of a workspace."""
        prefix = f"{resource_id}/{kind}/".lower()
        resources = [
            resource
            for key, resource in self._resources.items()
            if key.startswith(prefix) and "/" not in key[len(prefix) :]
        ]
        return Reply(200, {"value": copy.deepcopy(resources)})

    def store(self, resource_id: str, body: dict[str, Any]) -> dict[str, Any]:
        """Keep a resource as it stands, at once."""
        with self._lock:
            now = datetime.now(UTC).isoformat()
            before = self._resources.get(resource_id.lower(), {})
            created = before.get("systemData", {}).get("createdAt", now)
            stored = {
                **copy.deepcopy(body),
                "id": before.get("id", resource_id),
                "name": resource_id.rpartition("/")[2],
                "type": resource_type(resource_id),
                "systemData": {"createdAt": created, "lastModifiedAt": now},
            }
            self._resources[resource_id.lower()] = stored
            return stored

    def put(
        self,
        resource_id: str,
        body: dict[str, Any],
        *,
        finish: Finish = lambda _: None,
        asynchronous: bool = True,
        polls: int | None = None,
    ) -> Reply:
        """Answer a PUT: 201 where it is new, 200 where it is changed, with an operation to poll unless it is at once.

        ``finish`` is called with the stored resource when the operation ends; it may complete it, or raise
        ServiceError, which leaves it in state Failed.
        """
        with self._lock:
            key, existed = resource_id.lower(), resource_id in self
            if key in self._running and self._running[key].status == "InProgress":
                raise ServiceError(409, "Conflict", f"Another operation is in progress on {resource_id}.")
            stored = self.store(resource_id, body)
            properties = stored.setdefault("properties", {})
            if not asynchronous:
                finish(stored)
                properties["provisioningState"] = "Succeeded"
                return Reply(200 if existed else 201, copy.deepcopy(stored))
            properties["provisioningState"] = "Updating" if existed else "Creating"

            def end() -> None:
                try:
                    finish(stored)
                except ServiceError:
                    properties["provisioningState"] = "Failed"
                    raise
                properties["provisioningState"] = "Succeeded"

            headers = self._start(stored, end, result=lambda: copy.deepcopy(stored), polls=polls)
            return Reply(200 if existed else 201, copy.deepcopy(stored), headers)

    def delete(
        self,
        resource_id: str,
        *,
        finish: Callable[[], None] = lambda: None,
        asynchronous: bool = True,
    ) -> Reply:
        """Answer a DELETE: the resource and what lies under it are gone when the operation ends; 204 for none."""
        with self._lock:
            key = resource_id.lower()
            if key not in self._resources:
                return Reply(204)
            busy = key in self._running and self._running[key].status == "InProgress"
            if asynchronous and busy:
                raise ServiceError(409, "Conflict", f"Another operation is in progress on {resource_id}.")

            def end() -> None:
                finish()
                for gone in [other for other in self._resources if other == key or other.startswith(key + "/")]:
                    self._resources.pop(gone)
                    self.hidden.pop(gone, None)
                    self._running.pop(gone, None)

            if not asynchronous:
                end()
                return Reply(200)
            stored = self._resources[key]
            stored.setdefault("properties", {})["provisioningState"] = "Deleting"
            return Reply(202, None, self._start(stored, end))

    def _start(
        self,
        stored: dict[str, Any],
        finish: Callable[[], None],
        *,
        result: Callable[[], Any] = lambda: None,
        polls: int | None = None,
    ) -> dict[str, str]:
        """Start a resource's operation; return the headers that send the caller polling."""
        operation, headers = self._operations.start(
            provider=stored["type"].partition("/")[0],
            location=str(stored.get("location", "eastus2")),
            finish=finish,
            result=result,
            polls=polls,
        )
        self._running[stored["id"].lower()] = operation
        return headers

    def need(self, resource_id: str) -> dict[str, Any]:
        """Return a resource that another refers to. Raises ServiceError 404 where it is missing."""
        resource = self.find(resource_id)
        if resource is None:
            raise not_found(resource_id)
        return resource


def parse_json_object(request: Request) -> dict[str, Any]:
    """Return the body of a PUT or PATCH. Raises ServiceError 400 where it is no JSON object."""
    if not isinstance(request.json, dict):
        raise ServiceError(400, "InvalidRequestContent", "The request content was invalid: it is no JSON object.")
    return request.json


def resource_type(resource_id: str) -> str:
    """Return an id's type, such as Microsoft.MachineLearningServices/workspaces/computes."""
    _, separator, path = resource_id.rpartition("/providers/")
    if not separator:
        return "Microsoft.Resources/resourceGroups"
    namespace, *segments = path.split("/")
    return "/".join([namespace, *segments[::2]])


def not_found(resource_id: str) -> ServiceError:
    """Return ARM's 404 for a resource."""
    name = f"{resource_type(resource_id)}/{resource_id.rpartition('/')[2]}"
    return ServiceError(404, "ResourceNotFound", f"The Resource '{name}' was not found.")
