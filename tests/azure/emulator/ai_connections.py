"""Connections of workspaces, hubs and projects: their credentials go in, and only listsecrets shows them."""

from __future__ import annotations

import re
from typing import Any

from tests.azure.emulator.bodies import bad_argument, check_members, check_texts, need, need_one_of
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.resources import Resources, not_found, parse_json_object, resource_type
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspace_paths import WORKSPACES, need_workspace

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]{2,32}")
_MEMBERS = ("id", "name", "type", "systemData", "properties")
_AUTH_TYPES = {
    "CustomKeys": ("CustomKeys", "ApiKey"),
    "AzureOpenAI": ("ApiKey", "AAD"),
    "AIServices": ("ApiKey", "AAD"),
    "CognitiveSearch": ("ApiKey", "AAD"),
    "CognitiveService": ("ApiKey",),
    "ApiKey": ("ApiKey",),
    "Serverless": ("ApiKey",),
    "OpenAI": ("ApiKey",),
    "Serp": ("ApiKey",),
}
"""What each category may be opened with, of those that are emulated. (azure-ai-ml sends CustomKeys with ApiKey.)"""
_WITHOUT_TARGET = ("OpenAI", "Serp")
_GROUPS = {
    "AzureOpenAI": "AzureAI",
    "AIServices": "AzureAI",
    "CognitiveSearch": "AzureAI",
    "CognitiveService": "AzureAI",
}
_ACCOUNT = "Microsoft.CognitiveServices/accounts"


class AiConnections:
    """Connections; those of a hub that are shared to all are seen in its projects too."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    def add_routes(self, router: Router) -> None:
        """Register connections and their secrets."""
        base = f"{WORKSPACES}/{{workspace}}/connections"
        router.add("GET", base, self._list)
        router.add("GET", f"{base}/{{name}}", self._get)
        router.add("PUT", f"{base}/{{name}}", self._put)
        router.add("DELETE", f"{base}/{{name}}", self._delete)
        router.add("POST", f"{base}/{{name}}/listsecrets", self._list_secrets)

    def _list(self, request: Request, **_: str) -> Reply:
        workspace = need_workspace(self._resources, request.path, action="read")
        category = request.query.get("category", "").lower()
        rows = [*self._of(workspace["id"]), *self._shared(workspace)]
        return Reply(
            200, {"value": [each for each in rows if category in ("", each["properties"]["category"].lower())]}
        )

    def _of(self, workspace_id: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = self._resources.children(workspace_id, "connections").body["value"]
        return rows

    def _shared(self, workspace: dict[str, Any]) -> list[dict[str, Any]]:
        """Return what a project sees of its hub."""
        hub_id = workspace["properties"].get("hubResourceId")
        return [each for each in self._of(hub_id) if each["properties"]["isSharedToAll"]] if hub_id else []

    def _find(self, request: Request, name: str) -> dict[str, Any]:
        workspace = need_workspace(self._resources, request.path, action="read")
        found = self._resources.find(f"{workspace['id']}/connections/{name}")
        shared = [each for each in self._shared(workspace) if each["name"].lower() == name.lower()]
        if found is None and not shared:
            raise not_found(f"{workspace['id']}/connections/{name}")
        return found or shared[0]

    def _get(self, request: Request, name: str, **_: str) -> Reply:
        return Reply(200, self._find(request, name))

    def _list_secrets(self, request: Request, name: str, **_: str) -> Reply:
        found = self._find(request, name)
        secrets = self._resources.hidden[found["id"].lower()]
        return Reply(200, {**found, "properties": {**found["properties"], **secrets}})

    def _put(self, request: Request, name: str, **_: str) -> Reply:
        body, path = parse_json_object(request), request.path.rstrip("/")
        workspace = need_workspace(self._resources, path, action="write")
        if not _NAME.fullmatch(name):
            raise bad_argument(
                f"The connection name '{name}' is invalid: it must be 3 to 33 letters, digits, '-' and '_', and begin "
                "with a letter or digit."
            )
        check_members(body, _MEMBERS)
        given = need(body, "properties", dict)
        if isinstance(given.get("metadata"), dict):  # azure-ai-ml sends nulls for what is not set
            metadata = {key: value for key, value in given["metadata"].items() if value is not None}
            given = {**given, "metadata": metadata}
        check_texts(given, "metadata")
        category, auth_type = self._check(given)
        properties = {
            "authType": auth_type,
            "category": category,
            "group": _GROUPS.get(category, "GenericProtocol"),
            "target": given.get("target"),
            "metadata": given.get("metadata") or {},
            "isSharedToAll": given.get("isSharedToAll", False),
            "sharedUserList": given.get("sharedUserList") or [],
            "expiryTime": given.get("expiryTime"),
            "createdByWorkspaceArmId": workspace["id"],
            "credentials": None,
        }
        stored = self._resources.store(path, {"properties": properties})
        self._resources.hidden[path.lower()] = {"credentials": _check_credentials(auth_type, given)}
        return Reply(200, stored)

    def _check(self, given: dict[str, Any]) -> tuple[str, str]:
        """Return category and authType. Raises ServiceError 400 where they do not go together, or something lacks."""
        category = need_one_of(given, "category", tuple(_AUTH_TYPES))
        auth_type = need_one_of(given, "authType", sorted({each for types in _AUTH_TYPES.values() for each in types}))
        if auth_type not in _AUTH_TYPES[category]:
            raise bad_argument(f"The authType '{auth_type}' is not supported for connections of category '{category}'.")
        if not isinstance(given.get("isSharedToAll", False), bool):
            raise bad_argument("'isSharedToAll' must be true or false.")
        if category not in _WITHOUT_TARGET:
            need(given, "target", str)
        account = (given.get("metadata") or {}).get("ResourceId")
        if category == "AIServices" and account is None:
            raise bad_argument("Connections of category 'AIServices' need 'metadata.ResourceId'.")
        if account is not None and (
            account not in self._resources or resource_type(account).lower() != _ACCOUNT.lower()
        ):
            raise bad_argument(f"The Azure AI resource '{account}' of 'metadata.ResourceId' does not exist.")
        return category, auth_type

    def _delete(self, request: Request, **_: str) -> Reply:
        path = request.path.rstrip("/")
        need_workspace(self._resources, path, action="delete")
        return self._resources.delete(path, asynchronous=False)


def _check_credentials(auth_type: str, given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the credentials of a body. Raises ServiceError 400 where they are not those of the authType."""
    if auth_type == "AAD":
        return None
    if auth_type == "ApiKey":
        return {"key": need(given, "credentials.key", str)}
    check_texts(given, "credentials.keys")
    return {"keys": need(given, "credentials.keys", dict)}
