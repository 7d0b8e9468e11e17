"""What goes in and out of the emulated services: requests, replies, and errors in the services' own envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

READING_POSTS = (
    "/oauth2/v2.0/token",
    "/listkeys",
    "/listsecrets",
    "/listsecret",
    "/listnotebookkeys",
    "/liststorageaccountkeys",
    "/checknameavailability",
    "/getlogs",
    "/rundata",
    "/batchgetresolveduris",
    "/score",
    "/chat/completions",
    "/getstatus",
)
"""Ends of the paths (in lower case) whose POST changes nothing."""


@dataclass(frozen=True)
class Request:
    """A request as it came in; ``path`` is decoded and has no query, ``headers`` have names in lower case."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @cached_property
    def json(self) -> Any:
        """The body as JSON. Raises ServiceError 400 where it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise ServiceError(
                400, "InvalidRequestContent", "The request content was invalid: it is no JSON."
            ) from None

    @property
    def is_write(self) -> bool:
        """Whether it may change something: a PUT, PATCH or DELETE, or a POST that is not only asked for an answer."""
        if self.method == "POST":
            return not self.path.lower().rstrip("/").endswith(READING_POSTS)
        return self.method in ("PUT", "PATCH", "DELETE")

    def __str__(self) -> str:
        return f"{self.method} https://{self.host}{self.path}"


@dataclass(frozen=True)
class Reply:
    """An answer; a dict or list is sent as JSON, a str as text, bytes as they are, None as nothing."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


class ServiceError(Exception):
    """A refusal, answered in ARM's error envelope ``{"error": {"code": …, "message": …}}``."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    @property
    def reply(self) -> Reply:
        """The answer that the caller gets."""
        body = {"error": {"code": self.code, "message": self.message}}
        return Reply(self.status, body, {"x-ms-error-code": self.code, **self.headers})
