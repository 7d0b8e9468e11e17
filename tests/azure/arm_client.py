"""Azure Resource Manager as azure-mgmt-core asks it, with long-running operations followed to their end."""

from __future__ import annotations

from typing import Any

from azure.core.pipeline import policies
from azure.core.polling import LROPoller
from azure.core.rest import HttpRequest, HttpResponse
from azure.identity import DefaultAzureCredential
from azure.mgmt.core import ARMPipelineClient
from azure.mgmt.core.policies import ARMChallengeAuthenticationPolicy
from azure.mgmt.core.polling.arm_polling import ARMPolling

from tests.azure.emulator.world import SUBSCRIPTION

ARM = "https://management.azure.com"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg"
ML = f"{GROUP}/providers/Microsoft.MachineLearningServices/workspaces"
REGION = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.MachineLearningServices/locations/eastus2"


class ArmClient:
    """A client of whoever the environment logs in; every method takes query parameters as keywords."""

    def __init__(self, version: str = "2024-04-01") -> None:
        self._version = version
        token = ARMChallengeAuthenticationPolicy(DefaultAzureCredential(), f"{ARM}/.default")
        self._client: ARMPipelineClient[Any, Any] = ARMPipelineClient(
            ARM, policies=[policies.RequestIdPolicy(), policies.RetryPolicy(), token]
        )

    def send(self, method: str, path: str, body: Any = None, **query: str) -> HttpResponse:
        """Send one request and return its answer, whatever that is."""
        response: HttpResponse = self._client.send_request(self._request(method, path, body, query))
        return response

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return what is there. Raises HttpResponseError."""
        return _json(self.send("GET", path, **query))

    def names(self, path: str, **query: str) -> list[str]:
        """Return the names of a collection's items."""
        return [each["name"] for each in self.get(path, **query)["value"]]

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        """Return an action's answer. Raises HttpResponseError."""
        return _json(self.send("POST", path, body))

    def put(self, path: str, body: Any, *, method: str = "PUT", **query: str) -> dict[str, Any]:
        """Write a resource, wait for it and return it. Raises HttpResponseError as the operation ends."""
        self._follow(method, path, body, query)
        return self.get(path)

    def delete(self, path: str, **query: str) -> None:
        """Delete a resource and wait until it is gone. Raises HttpResponseError."""
        self._follow("DELETE", path, None, query)

    def refusal(self, method: str, path: str, body: Any = None, **query: str) -> tuple[int, str, str]:
        """Return status, code and message of a request that is refused at once."""
        response = self.send(method, path, body, **query)
        assert response.status_code >= 400, f"{response.status_code}: {response.text()}"
        error = response.json()["error"]
        return response.status_code, error["code"], error["message"]

    def _request(self, method: str, path: str, body: Any, query: dict[str, str]) -> HttpRequest:
        return HttpRequest(method, ARM + path, params={"api-version": self._version, **query}, json=body)

    def _follow(self, method: str, path: str, body: Any, query: dict[str, str]) -> None:
        request = self._request(method, path, body, query)
        first = self._client.send_request(request, _return_pipeline_response=True)
        first.http_response.raise_for_status()
        if first.http_response.status_code != 204:
            poller: LROPoller[None] = LROPoller(self._client, first, lambda _: None, ARMPolling(timeout=0.01))
            poller.result()


def make_foundation(client: ArmClient) -> dict[str, str]:
    """Make a group and what a workspace stands on, and return the ids by the property that names each."""
    place = {"location": "eastus2"}
    client.put(GROUP, place)
    vault = {"tenantId": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "sku": {"family": "A", "name": "standard"}}
    made = {
        "storageAccount": ("Microsoft.Storage/storageAccounts/phi3store", {"sku": {"name": "L"}, "kind": "StorageV2"}),
        "keyVault": ("Microsoft.KeyVault/vaults/phi3vault", {"properties": vault}),
        "applicationInsights": (
            "Microsoft.Insights/components/phi3insights",
            {"kind": "web", "properties": {"Application_Type": "web"}},
        ),
        "containerRegistry": ("Microsoft.ContainerRegistry/registries/phi3registry", {"sku": {"name": "Standard"}}),
    }
    for path, body in made.values():
        client.put(f"{GROUP}/providers/{path}", {**place, **body})
    return {name: f"{GROUP}/providers/{path}" for name, (path, _) in made.items()}


def workspace_body(properties: dict[str, Any], kind: str = "Default") -> dict[str, Any]:
    """Return what to send for a workspace."""
    identity = {"type": "SystemAssigned"}
    return {"location": "eastus2", "kind": kind, "identity": identity, "tags": {"by": "me"}, "properties": properties}


def _json(response: HttpResponse) -> dict[str, Any]:
    response.raise_for_status()
    content: dict[str, Any] = response.json()
    return content
