"""From a request's method, host and path to the function that answers it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError

ARM = "management.azure.com"
Handler = Callable[..., Reply]


class Router:
    """Routes of one service: ``{name}`` in a pattern is one path segment, ``{name:path}`` any number of them.

    Like ARM, paths are matched without regard to case, and the segments keep theirs.
    """

    def __init__(self) -> None:
        self._routes: list[tuple[str, re.Pattern[str], re.Pattern[str], Handler]] = []

    def route(self, method: str, path: str, *, host: str = ARM) -> Callable[[Handler], Handler]:
        """Register a handler ``handler(request, **segments)``; ``host`` may begin with ``*`` for any prefix."""

        def register(handler: Handler) -> Handler:
            self.add(method, path, handler, host=host)
            return handler

        return register

    def add(self, method: str, path: str, handler: Handler, *, host: str = ARM) -> None:
        """Register a handler, which may be a bound method."""
        pattern = re.sub(r"\\\{(\w+)(:path)?\\\}", _group, re.escape(path))
        hosts = re.escape(host).replace(r"\*", ".*")
        flags = re.IGNORECASE
        self._routes.append((method, re.compile(hosts, flags), re.compile(pattern + "/?", flags), handler))

    def find(self, request: Request) -> tuple[Handler, dict[str, Any]] | None:
        """Return the first handler that fits and its segments."""
        for method, host, path, handler in self._routes:
            if method == request.method and host.fullmatch(request.host) and (found := path.fullmatch(request.path)):
                return handler, found.groupdict()
        return None

    def answer(self, request: Request) -> Reply:
        """Answer, or refuse with 404 what no route knows."""
        found = self.find(request)
        if found is None:
            raise ServiceError(404, "InvalidResourceType", f"The emulator knows no {request}.")
        handler, segments = found
        return handler(request, **segments)


def _group(match: re.Match[str]) -> str:
    return f"(?P<{match[1]}>.+)" if match[2] else f"(?P<{match[1]}>[^/]+)"
