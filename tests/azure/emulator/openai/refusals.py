"""How the data plane of Azure OpenAI refuses: bodies and codes that are its own."""

from __future__ import annotations

from typing import Any

from tests.azure.emulator.messages import Reply, ServiceError


class DataPlaneError(ServiceError):
    """A refusal with members beside code and message, such as ``param`` or ``innererror``."""

    def __init__(self, status: int, code: str | None, message: str, /, **members: Any) -> None:
        super().__init__(status, str(code), message)
        self._body = {"code": code, "message": message, **members}

    @property
    def reply(self) -> Reply:
        """The answer that the caller gets."""
        return Reply(self.status, {"error": self._body}, self.headers)


def invalid_payload(message: str) -> DataPlaneError:
    """Return the refusal of what was sent."""
    return DataPlaneError(400, "invalidPayload", message)


def not_found(message: str) -> DataPlaneError:
    """Return the refusal of a file, job or model that is not there."""
    return DataPlaneError(404, "notFound", message)


def unknown_resource() -> DataPlaneError:
    """Return what is said of a path, or of an API version, that there is not."""
    return DataPlaneError(404, "404", "Resource not found")


def invalid_request(message: str, param: str | None = None, code: str | None = None) -> DataPlaneError:
    """Return the refusal of a chat's parameters, in the form that OpenAI gives it."""
    return DataPlaneError(400, code, message, type="invalid_request_error", param=param)
