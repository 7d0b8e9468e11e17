"""Long-running operations as ARM has them: asynchronous, polled by a URL of their own or by the resource's state."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.routing import ARM, Router
from tests.azure.emulator.world import SUBSCRIPTION, World


@dataclass
class Operation:
    """An operation: it ends after ``polls`` polls with ``finish``, which may raise ServiceError to fail it."""

    id: str
    polls: int
    finish: Callable[[], None]
    result: Callable[[], Any]
    status: str = field(default="InProgress", init=False)
    error: dict[str, Any] | None = field(default=None, init=False)

    def poll(self) -> None:
        """Count one poll, and end when there were enough."""
        if self.status != "InProgress":
            return
        self.polls -= 1
        if self.polls > 0:
            return
        try:
            self.finish()
            self.status = "Succeeded"
        except ServiceError as error:
            self.status, self.error = "Failed", {"code": error.code, "message": error.message}


class Operations:
    """The operations under way and done, and the routes that they are polled at."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._operations: dict[str, Operation] = {}
        self._ids = itertools.count(1)

    def add_routes(self, router: Router) -> None:
        """Register where operations are polled."""
        path = "/subscriptions/{subscription}/providers/{provider}/locations/{location}"
        router.add("GET", f"{path}/operationStatuses/{{operation}}", self._status)
        router.add("GET", f"{path}/operationResults/{{operation}}", self._result)

    def start(
        self,
        *,
        provider: str,
        location: str,
        finish: Callable[[], None],
        result: Callable[[], Any] = lambda: None,
        polls: int | None = None,
    ) -> tuple[Operation, dict[str, str]]:
        """Start an operation and return it with the headers that send the caller polling."""
        operation = Operation(f"op-{next(self._ids):05}", polls or self._world.operation_polls, finish, result)
        self._operations[operation.id] = operation
        base = f"https://{ARM}/subscriptions/{SUBSCRIPTION}/providers/{provider}/locations/{location}"
        version = "api-version=2024-04-01"
        return operation, {
            "Azure-AsyncOperation": f"{base}/operationStatuses/{operation.id}?{version}",
            "Location": f"{base}/operationResults/{operation.id}?{version}",
            **self.wait,
        }

    @property
    def wait(self) -> dict[str, str]:
        """The header that says how long to wait before the next poll."""
        return {"retry-after-ms": str(self._world.poll_ms)}

    def _status(self, request: Request, operation: str, **_: str) -> Reply:
        polled = self._find(operation)
        polled.poll()
        error = {"error": polled.error} if polled.error else {}
        return Reply(200, {"id": request.path, "name": polled.id, "status": polled.status, **error}, self.wait)

    def _result(self, request: Request, operation: str, **_: str) -> Reply:
        polled = self._find(operation)
        polled.poll()
        if polled.status == "InProgress":
            place = f"https://{request.host}{request.path}?api-version=2024-04-01"
            return Reply(202, None, {"Location": place, **self.wait})
        if polled.error:
            return ServiceError(400, polled.error["code"], polled.error["message"]).reply
        body = polled.result()
        return Reply(200 if body is not None else 204, body)

    def _find(self, operation: str) -> Operation:
        if operation not in self._operations:
            raise ServiceError(404, "OperationNotFound", f"There is no operation {operation}.")
        return self._operations[operation]
