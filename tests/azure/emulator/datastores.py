"""A workspace's datastores: those that come with it, and the secrets that open them."""

from __future__ import annotations

from typing import Any

from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resources import Resources
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import WORKSPACES, need_workspace


class Datastores:
    """The default datastores, whose blob containers are made in the workspace's storage account."""

    def __init__(self, resources: Resources, blobs: Blobs) -> None:
        self._resources, self.blobs = resources, blobs

    def add_routes(self, router: Router) -> None:
        """Register datastores, to be read."""
        base = f"{WORKSPACES}/{{workspace}}/datastores"
        router.add("GET", base, self._list)
        router.add("GET", f"{base}/{{name}}", self._get)
        router.add("POST", f"{base}/{{name}}/listSecrets", self._list_secrets)

    def add_defaults(self, workspace: dict[str, Any]) -> None:
        """Make a workspace's datastores, unless they are there.

        In a hub or project the containers' names begin with the workspace's id, so that all may share an account.
        """
        properties = workspace["properties"]
        account, number = properties["storageAccount"].rpartition("/")[2], properties["workspaceId"]
        plain = workspace["kind"] == "Default"
        blob, artifact = (
            (f"azureml-blobstore-{number}", "azureml") if plain else (f"{number}-blobstore", f"{number}-azureml")
        )
        share = f"azureml-filestore-{number}" if plain else f"{number}-code"
        by_identity = properties.get("systemDatastoresAuthMode", "accessKey").lower() != "accesskey"
        common = {
            "accountName": account,
            "endpoint": "core.windows.net",
            "protocol": "https",
            "credentials": {"credentialsType": "None" if by_identity else "AccountKey"},
            "serviceDataAccessAuthIdentity": "None",
            "description": None,
            "tags": {},
            "properties": {},
        }
        kinds: dict[str, dict[str, Any]] = {
            "workspaceblobstore": {"datastoreType": "AzureBlob", "containerName": blob, "isDefault": True},
            "workspaceartifactstore": {"datastoreType": "AzureBlob", "containerName": artifact, "isDefault": False},
            "workspacefilestore": {"datastoreType": "AzureFile", "fileShareName": share, "isDefault": False},
        }
        for name, own in kinds.items():
            path = f"{workspace['id']}/datastores/{name}"
            if path not in self._resources:
                self._resources.store(path, {"properties": {**common, **own}})
        for container in (blob, artifact):
            self.blobs.add_container(account, container)

    def _find(self, request: Request, name: str) -> dict[str, Any]:
        workspace = need_workspace(self._resources, request.path, action="read")
        found = self._resources.find(f"{workspace['id']}/datastores/{name}")
        if found is None:
            raise ServiceError(404, "UserError", f"Could not find datastore with name: {name}")
        return found

    def _list(self, request: Request, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="read")
        rows = self._resources.children(workspace["id"], "datastores").body["value"]
        names = [each for each in request.query.get("names", "").split(",") if each]
        default = request.query.get("isDefault", "").lower()
        return Reply(
            200,
            {
                "value": [
                    each
                    for each in rows
                    if (not names or each["name"] in names)
                    and (not default or each["properties"]["isDefault"] == (default == "true"))
                ]
            },
        )

    def _get(self, request: Request, name: str, **_: str) -> Reply:
        return Reply(200, self._find(request, name))

    def _list_secrets(self, request: Request, name: str, **_: str) -> Reply:
        properties = self._find(request, name)["properties"]
        if properties["credentials"]["credentialsType"] == "None":
            raise ServiceError(
                400, "UserError", f"The datastore {name} has no credentials: it is read with an identity."
            )
        container = properties.get("containerName") or properties["fileShareName"]
        return Reply(200, {"secretsType": "Sas", "sasToken": self.blobs.sign(properties["accountName"], container)})
