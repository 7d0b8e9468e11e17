"""Registries of everybody's: where they are found, and the models, components and environments in them."""

from __future__ import annotations

import re
from typing import Any

from tests.azure.emulator.assets import DEFAULT_VERSION, paged, shown
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.registry_content import registries
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import TENANT

_REGION, _SUBSCRIPTION, _GROUP = "eastus", "f5a6fd90-0000-4000-8000-000000000001", "registry-builds"
_HOST = f"cert-{_REGION}.experiments.azureml.net"
_BASE = (
    "/mferp/managementfrontend/subscriptions/{subscription}/resourceGroups/{group}/providers"
    "/Microsoft.MachineLearningServices/registries/{registry}"
)
_ASSET_ID = re.compile(
    r"azureml://registries/(?P<registry>[^/]+)/(?P<kind>\w+)/(?P<name>[^/]+)/(?P<by>versions|labels)/(?P<version>[^/]+)"
)
_CREATED = {"createdAt": "2024-06-01T00:00:00+00:00", "lastModifiedAt": "2024-06-01T00:00:00+00:00"}
_SEGMENTS = ("models", "components", "environments")


class Registry:
    """What the system registries answer; nothing in them can be changed."""

    def __init__(self, arm: ResourceManager) -> None:
        self._world, self._identity = arm.world, arm.identity

    def add_routes(self, router: Router) -> None:
        """Register the discovery and the lists and versions of each kind."""
        discovery = "/registrymanagement/v1.0/registries/{registry}/discovery"
        router.add("GET", discovery, self._discover, host="*.api.azureml.ms")
        for segment in _SEGMENTS:
            self._add_segment(router, segment)

    def find(self, asset_id: str) -> dict[str, Any]:
        """Return the version that azureml://registries/… names. Raises ServiceError 404."""
        match = _ASSET_ID.fullmatch(asset_id)
        if match is None:
            raise ServiceError(400, "UserError", f"The asset id '{asset_id}' is not valid.")
        return self._version(match["registry"], match["kind"], match["name"], match["version"])

    def model(self, registry: str, name: str) -> dict[str, Any] | None:
        """Return what a registry has of a model, whatever its version, None where it has none."""
        entry: dict[str, Any] | None = registries().get(registry, {}).get("models", {}).get(name)
        return None if name in self._world.missing_models else entry

    def _add_segment(self, router: Router, segment: str) -> None:
        def containers(request: Request, registry: str, **_: str) -> Reply:
            self._admit(request)
            rows = [self._container(registry, segment, *version) for version in self._held(registry, segment)]
            return paged(request, [row for row in rows if shown(request, row)])

        def container(request: Request, registry: str, name: str, **_: str) -> Reply:
            self._admit(request)
            version = str(self._version(registry, segment, name, "latest")["name"])
            return Reply(200, self._container(registry, segment, name, version))

        def versions(request: Request, registry: str, name: str, **_: str) -> Reply:
            self._admit(request)
            rows = [
                self._version(registry, segment, name, each) for each in ("latest", *_older(registry, segment, name))
            ]
            return paged(request, [row for row in rows if shown(request, row)])

        def version(request: Request, registry: str, name: str, version: str, **_: str) -> Reply:
            self._admit(request)
            return Reply(200, self._version(registry, segment, name, version))

        base = f"{_BASE}/{segment}"
        router.add("GET", base, containers, host=_HOST)
        router.add("GET", f"{base}/{{name}}", container, host=_HOST)
        router.add("GET", f"{base}/{{name}}/versions", versions, host=_HOST)
        router.add("GET", f"{base}/{{name}}/versions/{{version}}", version, host=_HOST)

    def _admit(self, request: Request) -> None:
        self._identity.authenticate(request)
        if self._world.registry_refuses:
            raise ServiceError(403, "UserError", "The client does not have permission to read this registry.")
        if self._world.registry_broken:
            raise ServiceError(500, "SystemError", "An internal error occurred.")

    def _discover(self, request: Request, registry: str) -> Reply:
        self._identity.authenticate(request)
        if registry not in registries():
            raise ServiceError(404, "RegistryNotFound", f"Registry {registry} not found.")
        place = {"primaryRegion": _REGION, "regions": sorted({_REGION, *self._world.sizes})}
        owner = {"tenantId": TENANT, "subscriptionId": _SUBSCRIPTION, "resourceGroup": _GROUP}
        uri = {"primaryRegionResourceProviderUri": f"https://{_HOST}/"}
        return Reply(200, {"registryName": registry, **place, **owner, **uri})

    def _held(self, registry: str, segment: str) -> list[tuple[str, str]]:
        """Return the names of a kind, each with its version."""
        content = registries().get(registry, {}).get(segment, {})
        missing = self._world.missing_models if segment == "models" else set()
        versions = {name: entry if isinstance(entry, str) else entry["version"] for name, entry in content.items()}
        return sorted((name, version) for name, version in versions.items() if name not in missing)

    def _version(self, registry: str, segment: str, name: str, reference: str) -> dict[str, Any]:
        version = dict(self._held(registry, segment)).get(name)
        if version is not None and reference in _older(registry, segment, name):
            version = reference
        if version is None or reference not in (version, "latest", DEFAULT_VERSION):
            noun = segment.removesuffix("s").capitalize()
            asset = f"{noun} {name}" if version is None else f"{noun} {name}:{reference}"
            raise ServiceError(404, "UserError", f"{asset} not found in registry {registry}.")
        entry = registries()[registry][segment][name]
        return {
            "id": f"azureml://registries/{registry}/{segment}/{name}/versions/{version}",
            "name": version,
            "type": segment,
            "properties": {
                "isAnonymous": False,
                **_properties(segment, name, version, entry),
                **self._archiving(segment, name, entry),
            },
            "systemData": _CREATED,
        }

    def _archiving(self, segment: str, name: str, entry: Any) -> dict[str, Any]:
        """Say whether a version is archived, and since when its model is not fine-tuned any more."""
        day = self._world.archived_models.get(name) if segment == "models" else None
        tags = {"tags": {**entry["tags"], "finetuneRetirementDate": day}} if day else {}
        return {"isArchived": day is not None, **tags}

    def _container(self, registry: str, segment: str, name: str, version: str) -> dict[str, Any]:
        archived = segment == "models" and name in self._world.archived_models
        return _describe_container(registry, segment, name, version, is_archived=archived)


def _older(registry: str, segment: str, name: str) -> list[str]:
    """Return the versions of an asset before its newest, which nothing but the number tells from it."""
    entry = registries().get(registry, {}).get(segment, {}).get(name)
    return list(entry.get("older", ())) if isinstance(entry, dict) else []


def _describe_container(registry: str, segment: str, name: str, version: str, *, is_archived: bool) -> dict[str, Any]:
    properties = {"isArchived": is_archived, "tags": {}, "properties": {}, "latestVersion": version}
    identity = {"id": f"azureml://registries/{registry}/{segment}/{name}", "name": name, "type": segment}
    return {**identity, "properties": properties, "systemData": _CREATED}


def _properties(segment: str, name: str, version: str, entry: Any) -> dict[str, Any]:
    if segment == "components":
        spec = {**entry, "creation_context": {}}
        return {"componentSpec": spec, "tags": {}, "properties": {}, "description": entry["description"]}
    if segment == "environments":
        image = f"mcr.microsoft.com/azureml/curated/{name}:{version}"
        return {"image": image, "osType": "Linux", "environmentType": "Curated", "tags": {}, "properties": {}}
    return {
        "modelType": "mlflow_model",
        "modelUri": f"https://azuremlregistry.blob.core.windows.net/models/{name}/{version}/mlflow_model_folder",
        "flavors": {"python_function": {"data": {"loader_module": "mlflow.transformers"}}},
        "tags": entry["tags"],
        "properties": entry["properties"],
        "description": f"{name}, from {entry['publisher']}.",
    }
