"""The way in to the hosts of accounts: which account is asked, in which version, by whom, and whether they may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.openai.accounts import Accounts
from tests.azure.emulator.openai.refusals import DataPlaneError, unknown_resource
from tests.azure.emulator.proxy import ConnectionReset
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import CALLER

_HOSTS = ("*.openai.azure.com", "*.cognitiveservices.azure.com", "*.services.ai.azure.com")
_PROJECT_HOST = _HOSTS[-1]
_PROJECT = "/api/projects/{project}"
_AUDIENCE, _PROJECT_AUDIENCE = "https://cognitiveservices.azure.com", "https://ai.azure.com"
_VERSIONS = (
    *("2024-02-01", "2024-05-01-preview", "2024-06-01", "2024-08-01-preview", "2024-10-01-preview", "2024-10-21"),
    *("2024-12-01-preview", "2025-01-01-preview", "2025-02-01-preview", "2025-03-01-preview", "2025-04-01-preview"),
)
_VERSIONS_OF_V1 = ("v1", "preview", "latest")
_WRONG_KEY = (
    "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an "
    "active subscription and use a correct regional API endpoint for your resource."
)
_OPENAI = "Microsoft.CognitiveServices/accounts/OpenAI"
Handler = Callable[..., Reply]


class Entrance:
    """Registers handlers for the routes of both forms: ``/openai/v1/…``, and ``/openai/…`` with an API version.

    Each handler is called with the request, the account, and the path's segments. ``action`` is what a role must allow
    of who comes with a token, such as fine-tunes/write; who has a key may do everything.
    """

    def __init__(self, arm: ResourceManager, accounts: Accounts) -> None:
        self._identity, self._roles, self._accounts = arm.identity, arm.roles, accounts

    def add(self, router: Router, method: str, path: str, handler: Handler, *, action: str) -> None:
        """Register a handler for a path such as /files, in both forms."""
        self.add_versioned(router, method, path, handler, action=action)
        self.add_v1(router, method, path, handler, action=action)

    def add_versioned(self, router: Router, method: str, path: str, handler: Handler, *, action: str) -> None:
        """Register a handler for the form with an API version."""
        template = f"/openai{path}"

        def handle(request: Request, **segments: str) -> Reply:
            account = self._account(request)
            if request.query.get("api-version") not in _VERSIONS:
                raise unknown_resource()
            self._check_caller(request, account, action, template, _AUDIENCE, bearer_key=False)
            return handler(request, account, **segments)

        for host in _HOSTS:
            router.add(method, template, handle, host=host)

    def add_v1(self, router: Router, method: str, path: str, handler: Handler, *, action: str) -> None:
        """Register a handler for the form without an API version, of an account and of a project in it."""
        forms = [*((host, "", _AUDIENCE) for host in _HOSTS), (_PROJECT_HOST, _PROJECT, _PROJECT_AUDIENCE)]
        for host, prefix, audience in forms:
            template = f"{prefix}/openai/v1{path}"
            router.add(method, template, self._of_v1(handler, action, template, audience), host=host)

    def _of_v1(self, handler: Handler, action: str, template: str, audience: str) -> Handler:
        def handle(request: Request, **segments: str) -> Reply:
            account = self._account(request)
            if request.query.get("api-version", "v1") not in _VERSIONS_OF_V1:
                message = "api-version query parameter is not allowed when using /v1 path"
                raise DataPlaneError(400, "BadRequest", message)
            segments.pop("project", None)
            self._check_caller(request, account, action, template, audience, bearer_key=True)
            return handler(request, account, **segments)

        return handle

    def _account(self, request: Request) -> dict[str, Any]:
        """Return the account that has the host; a host that nobody has is not reached."""
        account = self._accounts.find(request.host.partition(".")[0])
        if account is None or account["properties"]["provisioningState"] != "Succeeded":
            raise ConnectionReset
        return account

    def _check_caller(
        self,
        request: Request,
        account: dict[str, Any],
        action: str,
        template: str,
        audience: str,
        *,
        bearer_key: bool,
    ) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        key = request.headers.get("api-key")
        if key is None and bearer_key and scheme == "Bearer" and token.count(".") != 2:
            key = token
        if key is not None:
            self._check_key(key, account)
        elif scheme == "Bearer":
            self._check_token(token, account, action, f"{request.method} {template}", audience)
        else:
            raise DataPlaneError(401, "401", _WRONG_KEY)

    def _check_key(self, key: str, account: dict[str, Any]) -> None:
        if account["properties"].get("disableLocalAuth"):
            message = "Key based authentication is disabled for this resource."
            raise DataPlaneError(403, "AuthenticationTypeDisabled", message)
        if key not in self._accounts.keys(account["id"]).values():
            raise DataPlaneError(401, "401", _WRONG_KEY)

    def _check_token(self, token: str, account: dict[str, Any], action: str, operation: str, audience: str) -> None:
        try:
            self._identity.check_token(token, (audience,))
        except ServiceError:
            message = f"Unauthorized. Access token is missing, invalid, audience is incorrect ({audience}), or have "
            raise DataPlaneError(401, "Unauthorized", f"{message}expired.") from None
        if not self._roles.allow_data(f"{_OPENAI}/{action}", account["id"]):
            raise DataPlaneError(
                401,
                "PermissionDenied",
                f"The principal `{CALLER}` lacks the required data action `{_OPENAI}/{action}` to perform "
                f"`{operation}` operation.",
            )
