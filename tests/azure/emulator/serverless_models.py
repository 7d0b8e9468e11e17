"""Models that are served without compute: a registry's by its name, and those that serverless fine-tuning made."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.azure.emulator.bodies import bad_argument
from tests.azure.emulator.registry import Registry
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.workspace_paths import TYPE

_REGISTERED = re.compile(r"azureml://registries/(?P<registry>[^/]+)/models/(?P<name>[^/]+)(?P<version>/versions/.*)?")
_FINE_TUNED = re.compile(
    r"azureml://locations/(?P<location>[^/]+)/workspaces/(?P<workspace>[0-9a-f-]{36})"
    r"/models/(?P<name>[^/]+)/versions/(?P<version>[^/]+)"
)
_RETIRED = "Phi-3"
"""What the names of models begin with that are served no more (retired on 2025-08-30)."""


@dataclass(frozen=True)
class ServerlessModel:
    """A model, and the registry's model that it is or was made of; ``asset_id`` is the ARM id of a fine-tuned one."""

    name: str
    base_id: str
    publisher: str
    is_marketplace: bool
    asset_id: str = ""


class ServerlessModels:
    """Finds the model that an endpoint or a marketplace subscription names."""

    def __init__(self, arm: ResourceManager, registry: Registry) -> None:
        self._world, self._resources, self._registry = arm.world, arm.resources, registry

    def find(self, model_id: str) -> ServerlessModel:
        """Return the model of an id. Raises ServiceError 400 where there is none, or it needs compute."""
        found = _FINE_TUNED.fullmatch(model_id)
        return self._fine_tuned(found, model_id) if found else self.find_registered(model_id)

    def find_registered(self, model_id: str) -> ServerlessModel:
        """Return the registry's model of an id, which names no version. Raises ServiceError 400."""
        found = _REGISTERED.fullmatch(model_id)
        if found is None:
            raise bad_argument(f"The model id '{model_id}' is not valid.")
        if found["version"]:
            message = f"The given model_id {model_id} points to a specific model version, which is not supported."
            raise bad_argument(f"{message} Please provide a model_id without the version information.")
        name = found["name"]
        entry = self._registry.model(found["registry"], name)
        if entry is None:
            raise bad_argument(f"The model '{model_id}' was not found.")
        if name in self._world.archived_models or name.startswith(_RETIRED):
            raise bad_argument(f"The model '{model_id}' is retired and cannot be deployed as a serverless API.")
        return ServerlessModel(name, model_id, entry["publisher"], entry["marketplace"])

    def _fine_tuned(self, named: re.Match[str], model_id: str) -> ServerlessModel:
        workspace = self._workspace(named["workspace"], named["location"])
        asset_id = f"{workspace['id']}/models/{named['name']}/versions/{named['version']}" if workspace else ""
        if asset_id not in self._resources:
            raise bad_argument(f"The model '{model_id}' was not found.")
        base_id = self._resources.hidden.get(asset_id.lower(), {}).get("base_model")
        if base_id is None:
            raise bad_argument(f"The model '{model_id}' was not made by serverless fine-tuning: it needs compute.")
        base = self.find_registered(base_id)
        return ServerlessModel(named["name"], base_id, base.publisher, base.is_marketplace, asset_id)

    def _workspace(self, workspace_id: str, location: str) -> dict[str, Any] | None:
        for resource in self._resources:
            is_workspace = resource["type"] == TYPE and resource["location"] == location
            if is_workspace and resource["properties"].get("workspaceId") == workspace_id:
                return resource
        return None
