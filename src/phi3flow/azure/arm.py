"""Azure Resource Manager, asked with the caller's own login: reads, and writes that are followed to their end.

Built of azure-core's pipeline, whose policies retry 408, 429 and 5xx with back-off, Retry-After first, and connections
that break: every request of ours may be sent twice. Protocol: the ARM RPC, github.com/Azure/azure-resource-manager-rpc.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from phi3flow import __version__
from phi3flow.azure.polling import RESOURCE_WAITS, poll
from phi3flow.errors import AzureError, ForbiddenError, MissingExtraError
from phi3flow.text import cut

if TYPE_CHECKING:
    import requests
    from azure.core.credentials import TokenCredential
    from azure.core.rest import HttpResponse

ENDPOINT = "https://management.azure.com"
ML_VERSION = "2024-04-01"
"""The API version of Microsoft.MachineLearningServices that everything here speaks."""
USER_AGENT = f"phi3flow/{__version__}"
IN_PROGRESS_CODES = frozenset(
    {"Conflict", "AnotherOperationInProgress", "OperationNotAllowed", "StorageAccountInUse", "RequestConflict"}
)
CONFLICTS = 5
"""How often a write that met another one is tried again."""
RETRIES = 8
"""How often a request that fails in passing is sent again; the waits between sum up to two minutes."""
OPERATION_WAIT_S = 5.0
"""Between looks at a long-running operation whose answers do not say how long to wait."""
_TICK_S = 1.0
_CONNECTIONS = 64
_RETRIED_METHODS = frozenset({"GET", "PUT", "PATCH", "DELETE", "POST"})
_SHOWN_ONLY = frozenset({"id", "name", "type", "systemData", "etag", "provisioningState"})
_ENDED = frozenset({"succeeded", "failed", "canceled"})
_LOGIN = "log in with `az login`, or set AZURE_TENANT_ID, AZURE_CLIENT_ID and AZURE_CLIENT_SECRET"


OnWait = Callable[[float], None]
"""Told how many seconds an operation has taken so far."""


@dataclass(frozen=True)
class Caller:
    """Who is logged in; ``type`` is as role assignments call it."""

    object_id: str
    tenant_id: str
    type: str


class Arm:
    """A client of Azure Resource Manager; threads may share one.

    Ids are ARM's, from ``/subscriptions/`` on. Every method raises AzureError that names what was asked and what
    Azure said.
    """

    def __init__(self, credential: TokenCredential) -> None:
        from azure.core.pipeline import policies
        from azure.core.pipeline.transport import RequestsTransport
        from azure.mgmt.core import ARMPipelineClient
        from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy, ARMHttpLoggingPolicy

        from phi3flow.azure.patience import SpokenRetryPolicy

        self.credential = credential
        self._client: ARMPipelineClient[Any, Any] = ARMPipelineClient(
            base_url=ENDPOINT,
            transport=RequestsTransport(session=_session()),
            policies=[
                policies.RequestIdPolicy(),
                policies.UserAgentPolicy(USER_AGENT),
                SpokenRetryPolicy(
                    retry_connect=RETRIES, retry_read=RETRIES, retry_status=RETRIES, retry_backoff_max=30
                ),
                ARMChallengeAuthenticationPolicy(credential, f"{ENDPOINT}/.default"),
                ARMHttpLoggingPolicy(),
            ],
        )

    def caller(self) -> Caller:
        """Tell who is logged in, as the token says. Raises AzureError where nobody is."""
        from azure.core.exceptions import ClientAuthenticationError

        try:
            token = self.credential.get_token(f"{ENDPOINT}/.default").token
        except ClientAuthenticationError as error:
            raise AzureError(f"Azure: {nobody_logged_in(str(error))}") from error
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        kind = "ServicePrincipal" if claims.get("idtyp") == "app" else "User"
        return Caller(str(claims["oid"]), str(claims["tid"]), kind)

    def get(self, resource_id: str, version: str) -> dict[str, Any] | None:
        """Return a resource, None where there is none."""
        response = self._send("GET", resource_id, version)
        return None if response.status_code == 404 else _json(response)

    def list(self, path: str, version: str, **query: str) -> Iterator[dict[str, Any]]:
        """Give every item of a collection, page after page; nothing where its parent does not exist."""
        return self.list_url(f"{ENDPOINT}{path}", {"api-version": version, **query})

    def list_url(
        self, url: str, query: Mapping[str, str] | None = None, *, retries: int = RETRIES
    ) -> Iterator[dict[str, Any]]:
        """Give every item of a collection of another of Azure's hosts, as ``list`` does."""
        response = self._send_url("GET", url, parameters=query, retries=retries)
        while response.status_code != 404:
            page = _json(response)
            yield from page.get("value", [])
            if not page.get("nextLink"):
                return
            response = self._send_url("GET", page["nextLink"], retries=retries)

    def post(self, path: str, version: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call an action whose repetition does no harm, and return its answer."""
        response = self._send("POST", path, version, body=body)
        return _json(response) if response.content else {}

    def put(
        self,
        resource_id: str,
        version: str,
        body: Mapping[str, Any],
        *,
        on_wait: OnWait = lambda _: None,
        is_made: Callable[[Mapping[str, Any] | None], bool] = lambda _: False,
    ) -> dict[str, Any]:
        """Create a resource or replace it whole, wait until that is done, and return it.

        Where another operation is under way on it, that is waited for first; then nothing is sent where ``is_made``
        holds, since it was ours. ``on_wait`` is told every second how many have passed; what it raises ends the
        waiting, and what was begun goes on in Azure.
        """
        self._persist("PUT", resource_id, version, on_wait, is_made, body=body)
        return self._need(resource_id, version, on_wait)

    def patch(self, resource_id: str, version: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Change of a resource what ``body`` names, as ``put`` does."""
        self._persist("PATCH", resource_id, version, body=body)
        return self._need(resource_id, version)

    def delete(
        self,
        resource_id: str,
        version: str,
        query: Mapping[str, str] | None = None,
        *,
        on_wait: OnWait = lambda _: None,
    ) -> None:
        """Delete a resource and wait until it is gone; one that is gone already is no error.

        Azure is asked at once, and once more where it wants another operation on the resource to end first. See ``put``
        for ``on_wait``.
        """
        self._persist("DELETE", resource_id, version, on_wait, query=query)
        self.settle(resource_id, version)

    def _persist(
        self,
        method: str,
        resource_id: str,
        version: str,
        on_wait: OnWait = lambda _: None,
        is_made: Callable[[Mapping[str, Any] | None], bool] = lambda _: False,
        **parts: Any,
    ) -> None:
        """Send a write and follow it to its end; another operation on the resource is waited for.

        One that has ended by the time that it is looked for was in the way all the same: once the write is sent again.
        """
        was_idle = False
        for conflict in range(CONFLICTS):
            try:
                self._follow(self._write(method, resource_id, version, **parts), resource_id, on_wait)
                return
            except AzureError as error:
                if error.status != 409 or error.code not in IN_PROGRESS_CODES or conflict == CONFLICTS - 1:
                    raise
                is_idle = not in_transition(self.get(resource_id, version))
                if is_idle and was_idle:
                    raise
                was_idle = is_idle
            if is_made(self.settle(resource_id, version, on_wait=on_wait)):
                return

    def _need(self, resource_id: str, version: str, on_wait: OnWait = lambda _: None) -> dict[str, Any]:
        resource = self.settle(resource_id, version, on_wait=on_wait)
        if resource is None:
            raise AzureError(f"{resource_id}: Azure took it, and it is not there")
        return resource

    def get_url(self, url: str, *, retries: int = RETRIES, **query: str) -> dict[str, Any] | None:
        """Return what another of Azure's hosts answers, None where it has nothing there."""
        response = self._send_url("GET", url, parameters=query, retries=retries)
        return None if response.status_code == 404 else _json(response)

    def look(self, resource_id: str, version: str) -> tuple[dict[str, Any] | None, float | None]:
        """Return a resource, None where there is none, and how many seconds Azure asks to wait before the next look."""
        response = self._send("GET", resource_id, version)
        return None if response.status_code == 404 else _json(response), _retry_after_s(response)

    def settle(self, resource_id: str, version: str, *, on_wait: OnWait = lambda _: None) -> dict[str, Any] | None:
        """Wait until no operation is under way on a resource, and return it, None where it is gone."""
        begun_s = time.monotonic()

        def look() -> tuple[dict[str, Any] | None, float | None]:
            on_wait(time.monotonic() - begun_s)
            return self.look(resource_id, version)

        return poll(look, until=lambda resource: not in_transition(resource), waits=RESOURCE_WAITS)

    def _write(self, method: str, resource_id: str, version: str, **parts: Any) -> Any:
        """Send a write and return azure-core's response, which its poller starts from."""
        return self._send(method, resource_id, version, pipeline=True, **parts)

    def _follow(self, first: Any, resource_id: str, on_wait: OnWait) -> None:
        """Follow a long-running operation to its end: the protocol's headers, and so the waits, are azure-core's."""
        from azure.core.exceptions import AzureError as SdkError
        from azure.core.exceptions import HttpResponseError
        from azure.core.polling import LROPoller
        from azure.mgmt.core.polling.arm_polling import ARMPolling

        if first.http_response.status_code in (204, 404):
            return
        poller: LROPoller[None] = LROPoller(self._client, first, lambda _: None, ARMPolling(timeout=OPERATION_WAIT_S))
        begun_s = time.monotonic()
        try:
            while not poller.done():
                poller.wait(_TICK_S)
                on_wait(time.monotonic() - begun_s)
            poller.result()
        except HttpResponseError as error:
            code, message = _reason(error)
            status = error.status_code if error.status_code and error.status_code >= 400 else None
            raise AzureError(f"{_short(resource_id)}: {code}: {message}", status=status, code=code) from error
        except SdkError as error:
            raise AzureError(f"{_short(resource_id)}: {_first_line(str(error))}") from error

    def _send(
        self,
        method: str,
        path: str,
        version: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        pipeline: bool = False,
    ) -> Any:
        parameters = {"api-version": version, **(query or {})}
        return self._send_url(method, f"{ENDPOINT}{path}", parameters=parameters, body=body, pipeline=pipeline)

    def _send_url(
        self,
        method: str,
        url: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        pipeline: bool = False,
        retries: int = RETRIES,
    ) -> Any:
        """Send one request. Raises AzureError unless it succeeds; what a GET or DELETE does not find is no error."""
        from azure.core.exceptions import AzureError as SdkError
        from azure.core.exceptions import ClientAuthenticationError
        from azure.core.rest import HttpRequest

        request = HttpRequest(method, url, params=dict(parameters or {}), json=body)
        try:
            answer = self._client.send_request(
                request,
                retry_on_methods=_RETRIED_METHODS,
                retry_total=retries,
                _return_pipeline_response=pipeline,
            )
        except ClientAuthenticationError as error:
            raise AzureError(f"Azure: {nobody_logged_in(str(error))}", status=401) from error
        except SdkError as error:
            raise AzureError(f"Azure: {method} {url}: {_first_line(str(error))}") from error
        response = answer.http_response if pipeline else answer
        missing = response.status_code == 404 and method in ("GET", "DELETE")
        if response.status_code >= 400 and not missing:
            raise _error(method, url, response)
        return answer


def log_in() -> Arm:
    """Return a client for whoever is logged in: environment, managed identity, Azure CLI and the rest, in the order
    of azure-identity's DefaultAzureCredential. Raises MissingExtraError."""
    try:
        from azure.identity import DefaultAzureCredential
    except ImportError as error:
        raise MissingExtraError("azure", error) from error
    return Arm(DefaultAzureCredential())


def _session() -> requests.Session:
    """Return what holds a connection for each thread that asks; retries are the pipeline's."""
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.mount("https://", HTTPAdapter(pool_maxsize=_CONNECTIONS))
    return session


def in_transition(resource: Mapping[str, Any] | None) -> bool:
    """Whether an operation is under way on a resource, as its state says."""
    state = (resource or {}).get("properties", {}).get("provisioningState")
    return state is not None and str(state).lower() not in _ENDED


def writable(resource: Mapping[str, Any], shown_only: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Return what a PUT may send of a resource that was read, so that nothing of it goes back to its default.

    Left out is what only Azure sets, with ``shown_only`` of this kind's properties; of the rest services ignore what
    only they may set (github.com/Azure/azure-resource-manager-rpc: a GET's answer can be PUT).
    """

    def kept(part: Mapping[str, Any]) -> dict[str, Any]:
        left_out = _SHOWN_ONLY | shown_only
        return {key: value for key, value in part.items() if key not in left_out and value is not None}

    body = kept(resource) | {"properties": kept(resource["properties"])}
    return body | ({"identity": _writable_identity(body["identity"])} if body.get("identity") else {})


def _writable_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without the ids that Azure gives to it."""
    assigned = identity.get("userAssignedIdentities") or {}
    return {
        "type": identity.get("type"),
        **({"userAssignedIdentities": {name: {} for name in assigned}} if assigned else {}),
    }


def _json(response: HttpResponse) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = response.json()
    except ValueError as error:
        raise AzureError(f"Azure: {response.request.url}: the answer is not JSON") from error
    return answer


def _error(method: str, url: str, response: HttpResponse) -> AzureError:
    try:
        described = response.json().get("error", {})
        code, message = str(described.get("code", "")), str(described.get("message", ""))
        details = [str(detail.get("message", "")) for detail in described.get("details") or []]
    except (ValueError, AttributeError):
        code, message, details = "", response.text(), []
    code = code or f"HTTP {response.status_code}"
    path = url.removeprefix(ENDPOINT)
    reasons = " ".join(dict.fromkeys(_first_line(text) for text in (message, *details) if text))
    hint = f" To log in: {_LOGIN}" if response.status_code == 401 else ""
    kind = ForbiddenError if response.status_code == 403 else AzureError
    return kind(f"{method} {_short(path)}: {code}: {reasons}{hint}", status=response.status_code, code=code)


def nobody_logged_in(text: str) -> str:
    """Say so, with what the first credential said of those in DefaultAzureCredential's message that are not absent."""
    lines = [line.strip() for line in text.splitlines() if "Credential: " in line]
    telling = [line for line in lines if "unavailable" not in line]
    problem = _first_line((telling or lines or [text])[0]).rstrip(".")
    return f"nobody is logged in ({problem}): {_LOGIN}"


def _reason(error: Any) -> tuple[str, str]:
    described = getattr(error, "error", None)
    code = getattr(described, "code", None) or "Failed"
    message = getattr(described, "message", None) or str(error.message)
    return str(code), _first_line(str(message))


def _short(path: str) -> str:
    """Return the part of an id that tells the resource, without subscription and group."""
    return path.rpartition("/providers/")[2] if "/providers/" in path else path


def _first_line(text: str) -> str:
    return cut(text.strip().split("\n")[0], 400) or "no reason given"


def _retry_after_s(response: HttpResponse) -> float | None:
    """Return what the service asks to wait, in seconds."""
    for name, unit_s in (("retry-after", 1.0), ("retry-after-ms", 0.001), ("x-ms-retry-after-ms", 0.001)):
        value = response.headers.get(name, "")
        if value.isdigit():
            return int(value) * unit_s
    return None
