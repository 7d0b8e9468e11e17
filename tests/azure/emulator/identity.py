"""Microsoft Entra ID: where tokens are got, and what the services make of them."""

from __future__ import annotations

import time
from collections.abc import Collection
from urllib.parse import parse_qs

import jwt

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import CALLER, CLIENT, CLIENT_SECRET, TENANT, World

LOGIN = "login.microsoftonline.com"
_KEY = "the emulator's own signing key, 32 bytes"
_AUDIENCES = ("https://management.azure.com", "https://ml.azure.com", "https://storage.azure.com")


class Identity:
    """The tenant: one service principal that logs in with a secret, and managed identities that appear with delay."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fresh: dict[str, int] = {}

    def add_routes(self, router: Router) -> None:
        """Register what MSAL asks."""
        router.add("GET", "/common/discovery/instance", self._instance, host=LOGIN)
        router.add("GET", "/{tenant}/v2.0/.well-known/openid-configuration", self._configuration, host=LOGIN)
        router.add("POST", "/{tenant}/oauth2/v2.0/token", self._token, host=LOGIN)

    def add_principal(self, principal_id: str) -> None:
        """Make a principal that other services do not know for a while."""
        self._fresh[principal_id] = self._world.propagation_polls

    def check_known(self, principal_id: str) -> None:
        """Raise ServiceError 400 PrincipalNotFound where a principal is unknown, or still too new."""
        if principal_id == CALLER:
            return
        left = self._fresh.get(principal_id)
        if left is None or left > 0:
            self._fresh[principal_id] = max(0, (left or 1) - 1) if left is not None else 10**9
            raise ServiceError(
                400,
                "PrincipalNotFound",
                f"Principal {principal_id.replace('-', '')} does not exist in the directory {TENANT}. Check that you "
                "have the correct principal ID. If you are creating this principal and then immediately assigning a "
                "role, this error might be related to a replication delay.",
            )

    def authenticate(self, request: Request) -> None:
        """Raise ServiceError 401 unless the request bears a token for the host that it asks."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not token:
            raise _unauthorized("AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
        self.check_token(token, _AUDIENCES)

    def check_token(self, token: str, audiences: Collection[str]) -> None:
        """Raise ServiceError 401 unless a token is the tenant's, alive, and for one of the audiences."""
        try:
            claims = jwt.decode(token, _KEY, algorithms=["HS256"], options={"verify_aud": False})
        except jwt.ExpiredSignatureError:
            raise _unauthorized("ExpiredAuthenticationToken", _expired()) from None
        except jwt.InvalidTokenError:
            raise _unauthorized("InvalidAuthenticationToken", "The access token is invalid.") from None
        if self._world.expired_tokens:
            raise _unauthorized("ExpiredAuthenticationToken", _expired())
        if claims["aud"].rstrip("/") not in audiences:
            raise _unauthorized("InvalidAuthenticationTokenAudience", f"The audience {claims['aud']} is not valid.")

    def _instance(self, request: Request) -> Reply:
        aliases = [LOGIN, "login.windows.net", "login.microsoft.com", "sts.windows.net"]
        metadata = {"preferred_network": LOGIN, "preferred_cache": "login.windows.net", "aliases": aliases}
        place = f"https://{LOGIN}/{TENANT}/v2.0/.well-known/openid-configuration"
        return Reply(200, {"tenant_discovery_endpoint": place, "api-version": "1.1", "metadata": [metadata]})

    def _configuration(self, request: Request, tenant: str) -> Reply:
        base = f"https://{LOGIN}/{tenant}"
        return Reply(
            200,
            {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
                "issuer": f"{base}/v2.0",
            },
        )

    def _token(self, request: Request, tenant: str) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if tenant != TENANT:
            return _refusal("invalid_request", f"AADSTS90002: Tenant '{tenant}' not found.")
        if form.get("client_id") != CLIENT:
            return _refusal("unauthorized_client", "AADSTS700016: Application was not found in the directory.")
        if form.get("client_secret") != CLIENT_SECRET:
            return _refusal("invalid_client", "AADSTS7000215: Invalid client secret provided.")
        token = self.mint(form["scope"].split(" ")[0].removesuffix("/.default"))
        return Reply(200, {"token_type": "Bearer", "expires_in": self._world.token_lifetime_s, "access_token": token})

    def mint(self, audience: str) -> str:
        """Return a token of the caller's for a service."""
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"https://sts.windows.net/{TENANT}/",
            "iat": now,
            "exp": now + self._world.token_lifetime_s,
            "tid": TENANT,
            "oid": CALLER,
            "appid": CLIENT,
            "idtyp": "app",
        }
        return jwt.encode(claims, _KEY, algorithm="HS256")


def _unauthorized(code: str, message: str) -> ServiceError:
    return ServiceError(401, code, message, WWW_Authenticate='Bearer authorization_uri="https://login.windows.net/"')


def _expired() -> str:
    return "The access token expiry UTC time is earlier than current UTC time."


def _refusal(error: str, description: str) -> Reply:
    return Reply(400 if error != "invalid_client" else 401, {"error": error, "error_description": description})
