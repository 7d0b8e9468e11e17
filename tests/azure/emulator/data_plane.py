"""A workspace's own hosts: what is asked there concerns one workspace, and is for callers who may use it."""

from __future__ import annotations

from collections.abc import Callable

from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import ARM, Router
from tests.azure.emulator.workspace_paths import need_workspace

HOST = "*.api.azureml.ms"


class DataPlane:
    """The way in for the services behind a workspace's host: it checks the token, the caller's role and the workspace.

    Each handler is called with the request and the workspace's id, and with ``name`` where its path has one.
    """

    def __init__(self, arm: ResourceManager) -> None:
        self._arm = arm

    def add(
        self, router: Router, method: str, path: str, handler: Callable[..., Reply], *, as_method: str = "GET"
    ) -> None:
        """Register a handler, for callers whose roles allow ``as_method`` on the workspace itself."""

        def handle(request: Request, **segments: str) -> Reply:
            self._arm.identity.authenticate(request)
            inside = request.path[request.path.index("/subscriptions/") :]
            workspace_id = "/".join(inside.split("/")[:9])
            self._arm.roles.authorize(Request(as_method, ARM, workspace_id))
            workspace = need_workspace(self._arm.resources, workspace_id, action="read")
            names = {segment: value for segment, value in segments.items() if segment == "name"}
            return handler(request, str(workspace["id"]), **names)

        router.add(method, path, handle, host=HOST)
