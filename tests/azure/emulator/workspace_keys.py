"""The keys that a workspace shows to who may list them: of its storage, registry, insights and notebooks."""

from __future__ import annotations

import uuid
from typing import Any

from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.resources import Resources


def list_keys(workspace: dict[str, Any], resources: Resources, blobs: Blobs) -> dict[str, Any]:
    """Return all of them; registry and insights only where the workspace has them."""
    properties = workspace["properties"]
    insights = resources.find(properties.get("applicationInsights") or "")
    registry = resources.find(properties.get("containerRegistry") or "")
    return {
        **list_storage_keys(workspace, resources, blobs),
        "userStorageArmId": properties["storageAccount"],
        "userStorageResourceId": properties["storageAccount"],
        "appInsightsInstrumentationKey": insights and insights["properties"]["InstrumentationKey"],
        "containerRegistryCredentials": registry and _registry_credentials(registry),
        "notebookAccessKeys": list_notebook_keys(workspace, resources, blobs),
    }


def list_notebook_keys(workspace: dict[str, Any], resources: Resources, blobs: Blobs) -> dict[str, str]:
    """Return the notebooks' two keys."""
    return {f"{which}AccessKey": _key(workspace["id"], which) for which in ("primary", "secondary")}


def list_storage_keys(workspace: dict[str, Any], resources: Resources, blobs: Blobs) -> dict[str, str]:
    """Return the storage account's key."""
    account = workspace["properties"]["storageAccount"].rpartition("/")[2]
    return {"userStorageKey": blobs.account_key(account)}


def _registry_credentials(registry: dict[str, Any]) -> dict[str, Any]:
    passwords = [{"name": name, "value": _key(registry["id"], name)} for name in ("password", "password2")]
    return {"location": registry["location"], "username": registry["name"], "passwords": passwords}


def _key(*parts: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, " ".join(parts)).hex
