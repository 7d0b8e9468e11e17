"""Accounts of Azure OpenAI and Foundry in the resource manager: their names, hosts, keys, and how they are deleted."""

from __future__ import annotations

import re
import secrets
from typing import Any

from tests.azure.emulator.api_versions import is_since
from tests.azure.emulator.bodies import at, check_members
from tests.azure.emulator.managed_identities import check_identity, complete_identity
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.openai.paths import (
    ACCOUNT,
    ACCOUNTS,
    LOCATION,
    PROVIDER,
    SUBSCRIPTION_PATH,
    TYPE,
    add_route,
    bad_properties,
)
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.resources import parse_json_object
from tests.azure.emulator.routing import Router

KINDS = ("OpenAI", "AIServices")
_MEMBERS = ("location", "kind", "sku", "identity", "tags", "properties")
_PROPERTIES = (
    *("customSubDomainName", "publicNetworkAccess", "disableLocalAuth", "networkAcls", "encryption", "restore"),
    *("restrictOutboundNetworkAccess", "allowedFqdnList", "dynamicThrottlingEnabled", "userOwnedStorage"),
    *("apiProperties", "amlWorkspace", "migrationToken", "locations", "raiMonitorConfig"),
)
_SHOWN_PROPERTIES = ("provisioningState", "endpoint", "endpoints", "capabilities", "dateCreated", "internalId")
_PROJECT_PROPERTIES = ("allowProjectManagement", "defaultProject", "associatedProjects", "networkInjections")
_PROJECTS_SINCE = "2025-04-01-preview"
"""The first version whose accounts hold projects."""
_SHOWN_ONLY = ("id", "name", "type", "etag", "systemData", "apiVersion")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{1,63}")
_SUBDOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
_KEYS = {"Key1": "key1", "Key2": "key2"}


class Accounts:
    """A subscription's accounts; ``find`` and ``keys`` are for who answers on their hosts."""

    def __init__(self, arm: ResourceManager, providers: Providers) -> None:
        self._world, self._resources, self._providers = arm.world, arm.resources, providers
        self._identity = arm.identity

    def add_routes(self, router: Router) -> None:
        """Register accounts, their keys, and what was deleted."""
        for path in (ACCOUNTS, f"{SUBSCRIPTION_PATH}/providers/{TYPE}"):
            add_route(router, "GET", path, self._list)
        add_route(router, "GET", ACCOUNT, self._get)
        add_route(router, "PUT", ACCOUNT, self._put)
        add_route(router, "PATCH", ACCOUNT, self._patch)
        add_route(router, "DELETE", ACCOUNT, self._delete)
        add_route(router, "GET", f"{ACCOUNT}/projects", self._list_projects)
        add_route(router, "POST", f"{ACCOUNT}/listKeys", self._list_keys)
        add_route(router, "POST", f"{ACCOUNT}/regenerateKey", self._regenerate_key)
        path = f"{LOCATION}/resourceGroups/{{group}}/deletedAccounts/{{account}}"
        add_route(router, "GET", path, self._get_deleted)
        add_route(router, "DELETE", path, self._purge)

    @property
    def all(self) -> list[dict[str, Any]]:
        """Every account, whoever's group it lies in."""
        return [resource for resource in self._resources if resource["type"].lower() == TYPE.lower()]

    def find(self, subdomain: str) -> dict[str, Any] | None:
        """Return the account that answers on a host of that name, None where no host has it."""
        for account in self.all:
            if str(at(account, "properties.customSubDomainName")).lower() == subdomain.lower():
                return account
        return None

    def keys(self, account_id: str) -> dict[str, str]:
        """Return an account's two keys."""
        hidden = self._resources.hidden.setdefault(account_id.lower(), {})
        keys: dict[str, str] = hidden.setdefault("keys", {name: secrets.token_hex(16) for name in _KEYS.values()})
        return keys

    def _list(self, request: Request, **_: str) -> Reply:
        base = request.path.partition("/providers/")[0].lower() + "/"
        return Reply(200, {"value": [account for account in self.all if account["id"].lower().startswith(base)]})

    def _get(self, request: Request, **_: str) -> Reply:
        self._providers.need_group(request.path)
        return self._resources.get(request.path.rstrip("/"))

    def _list_projects(self, request: Request, **_: str) -> Reply:
        account, _, kind = request.path.rstrip("/").rpartition("/")
        self._resources.need(account)
        return self._resources.children(account, kind)

    def _put(self, request: Request, account: str, **_: str) -> Reply:
        body, before = parse_json_object(request), self._resources.find(request.path)
        self._providers.check_registered(PROVIDER)
        self._providers.need_group(request.path)
        check_members(body, (*_MEMBERS, *_SHOWN_ONLY))
        if not _NAME.fullmatch(account):
            raise ServiceError(400, "InvalidResourceName", f"The account name '{account}' is invalid.")
        for name in ("location", "kind", "sku.name"):
            if not at(body, name):
                message = f"The required property '{name}' is missing."
                raise ServiceError(400, "InvalidRequestContent", message)
        self._providers.check_location(body["location"])
        _check_properties(request, body)
        self._check_soft_deleted(request.path, body)
        return self._write(request.path, body, before)

    def _patch(self, request: Request, **_: str) -> Reply:
        before, body = self._resources.need(request.path), parse_json_object(request)
        changed: dict[str, Any] = {name: body[name] for name in ("sku", "identity", "tags") if name in body}
        properties = {**before["properties"], **(body.get("properties") or {})}
        return self._write(request.path, {**before, **changed, "properties": properties}, before)

    def _write(self, path: str, body: dict[str, Any], before: dict[str, Any] | None) -> Reply:
        if body["kind"] not in KINDS:
            raise ServiceError(
                400,
                "InvalidApiSetId",
                f"The account type '{body['kind']}' is either invalid or unavailable in given region.",
            )
        if body["sku"]["name"] != "S0":
            raise ServiceError(400, "InvalidSkuId", f"The account sku '{body['sku']['name']}' is invalid.")
        if before and before["location"] != body["location"]:
            raise ServiceError(409, "InvalidResourceLocation", f"The account is in '{before['location']}'.")
        properties = {**(body.get("properties") or {})}
        properties.pop("restore", None)
        held = before["properties"].get("customSubDomainName") if before else None
        wanted = properties.get("customSubDomainName") or held
        if wanted:
            self._check_subdomain(path, wanted, held)
            properties["customSubDomainName"] = wanted
        kept = {name: body[name] for name in _MEMBERS if name in body}
        if body.get("identity"):
            kept["identity"] = check_identity(body["identity"], before and before.get("identity"), self._resources)
        return self._resources.put(path, {**kept, "properties": properties}, finish=self._complete)

    def _check_subdomain(self, path: str, wanted: str, held: str | None) -> None:
        """Raise ServiceError where a host's name does not do, is somebody else's, or would change."""
        if held and held.lower() != wanted.lower():
            raise bad_properties(f"The subdomain name '{held}' of the account cannot be changed.")
        if not _SUBDOMAIN.fullmatch(wanted.lower()):
            raise ServiceError(400, "BadRequest", f"The subdomain name '{wanted}' is invalid.")
        owner = self.find(wanted)
        taken = wanted in self._world.taken_names and not held
        if taken or (owner and owner["id"].lower() != path.lower()):
            message = f"Please pick a different name. The subdomain name '{wanted}' is not available as it's already "
            raise ServiceError(409, "CustomDomainInUse", f"{message}used by a resource.")

    def _check_soft_deleted(self, path: str, body: dict[str, Any]) -> None:
        if path.lower() not in self._world.soft_deleted:
            return
        if at(body, "properties.restore") is not True:
            raise ServiceError(
                409,
                "FlagMustBeSetForRestore",
                f"An existing resource with ID '{path}' has been soft-deleted. To restore the resource, you must "
                "specify 'restore' to be 'true' in the property. If you don't want to restore existing resource, "
                "please purge it first.",
            )
        self._world.soft_deleted.discard(path.lower())

    def _delete(self, request: Request, account: str, **_: str) -> Reply:
        self._providers.check_unlocked(request.path)
        nested = [
            row
            for kind in ("deployments", "projects")
            for row in self._resources.children(request.path, kind).body["value"]
        ]
        if nested:
            ids = ", ".join(deployment["id"] for deployment in nested)
            message = "Cannot delete resource while nested resources exist. Some existing nested resource IDs: "
            raise ServiceError(409, "CannotDeleteResource", f"{message}'{ids}'.")
        if request.path in self._resources:
            self._world.soft_deleted.add(request.path.lower())
        return self._resources.delete(request.path)

    def _list_keys(self, request: Request, **_: str) -> Reply:
        account = self._resources.need(request.path.rpartition("/")[0])
        if account["properties"].get("disableLocalAuth"):
            message = "Failed to list key. disableLocalAuth is set to be true"
            raise ServiceError(400, "BadRequest", message)
        return Reply(200, dict(self.keys(account["id"])))

    def _regenerate_key(self, request: Request, **_: str) -> Reply:
        account = self._resources.need(request.path.rpartition("/")[0])
        name = parse_json_object(request).get("keyName")
        if name not in _KEYS:
            raise ServiceError(400, "InvalidKeyName", f"The key name {name!r} is none of {', '.join(_KEYS)}.")
        self.keys(account["id"])[_KEYS[name]] = secrets.token_hex(16)
        return Reply(200, dict(self.keys(account["id"])))

    def _get_deleted(self, request: Request, account: str, **_: str) -> Reply:
        properties = {"internalId": self._need_deleted(request)}
        return Reply(200, {"id": request.path, "name": account, "properties": properties})

    def _purge(self, request: Request, **_: str) -> Reply:
        self._world.soft_deleted.discard(self._need_deleted(request))
        return Reply(200)

    def _need_deleted(self, request: Request) -> str:
        segments = request.path.split("/")
        end = f"/resourcegroups/{segments[8]}/providers/{TYPE}/{segments[10]}".lower()
        for resource_id in self._world.soft_deleted:
            if resource_id.endswith(end):
                return resource_id
        raise ServiceError(404, "ResourceNotFound", f"There is no deleted account {segments[10]}.")

    def _complete(self, stored: dict[str, Any]) -> None:
        _give_hosts(stored)
        if stored.get("identity"):
            complete_identity(stored["identity"], self._identity)


def _check_properties(request: Request, body: dict[str, Any]) -> None:
    """Raise ServiceError 400 for a property that the api-version lacks, and for projects without an identity.

    That projects need one is read (learn.microsoft.com: create-projects); the words are the emulator's own.
    """
    knows_projects = is_since(request, _PROJECTS_SINCE)
    check_members(
        body.get("properties") or {},
        (*_PROPERTIES, *_SHOWN_PROPERTIES, *(_PROJECT_PROPERTIES if knows_projects else ())),
    )
    if at(body, "properties.allowProjectManagement"):
        if body["kind"] != "AIServices":
            raise bad_properties(f"Projects are not supported by accounts of the kind '{body['kind']}'.")
        if at(body, "identity.type") in (None, "None"):
            raise bad_properties("Project management requires a managed identity to be assigned to the account.")


def _give_hosts(stored: dict[str, Any]) -> None:
    """Give an account the hosts that it answers on, which are its own only with a subdomain."""
    properties, subdomain = stored["properties"], stored["properties"].get("customSubDomainName")
    if not subdomain:
        properties["endpoint"] = f"https://{stored['location']}.api.cognitive.microsoft.com/"
        return
    openai, foundry = f"https://{subdomain}.openai.azure.com/", f"https://{subdomain}.services.ai.azure.com/"
    endpoints = {"OpenAI Language Model Instance API": openai, "OpenAI Whisper API": openai}
    if stored["kind"] == "AIServices":
        endpoints |= {"AI Foundry API": foundry, "Azure AI Model Inference API": foundry}
    own = openai if stored["kind"] == "OpenAI" else f"https://{subdomain}.cognitiveservices.azure.com/"
    properties.update(endpoint=own, endpoints=endpoints)
    properties.setdefault("publicNetworkAccess", "Enabled")
