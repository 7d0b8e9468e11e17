"""The registry that models and fine-tuning components come from, such as azureml: what it has, and what is archived.

Asked directly, not through azure-ai-ml, which takes seconds to import, resolves "latest" among active versions only
and does not say so. Addresses as in azure-ai-ml 1.32, _utils/_registry_utils.py.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, TypeVar

from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError, ConfigError, ForbiddenError

DISCOVERY = "https://eastus.api.azureml.ms/registrymanagement/v1.0/registries"
VERSION = "2021-10-01-dataplanepreview"
T = TypeVar("T")
LATEST = "latest"
_RETRIES = 3
"""A plan looks at the registry by the way, and need not wait for minutes."""
_NEAR = 5
_NUMBER = re.compile(r"[0-9][0-9.]*")


@dataclass(frozen=True)
class CatalogAsset:
    """A version of a model or of a component; ``kind`` is a model's type, ``inputs`` are a component's by name."""

    name: str
    version: str
    id: str
    kind: str = ""
    is_archived: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    inputs: frozenset[str] = frozenset()

    def literal(self, tag: str, kind: type[T]) -> T:
        """Read a tag that holds a Python or JSON literal; what is none of the kind counts as empty."""
        try:
            value = ast.literal_eval(self.tags.get(tag) or "None")
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
        return value if isinstance(value, kind) else kind()

    def sizes(self, purpose: Literal["finetune", "inference"]) -> list[str]:
        """Return the VM sizes that a model names for a purpose; none where it names none."""
        return [str(size) for size in self.literal(f"{purpose}_compute_allow_list", list)]

    def allows(self, size: str, purpose: Literal["finetune", "inference"]) -> bool:
        """Whether a model may be used on a VM size, as its tags say."""
        names = self.sizes(purpose)
        return not names or size.lower() in (name.lower() for name in names)


class Catalog:
    """The settings' registry. Every method raises AzureError where it cannot be asked, ForbiddenError where the caller
    may not, and ConfigError where it lacks what is looked for."""

    def __init__(self, workspace: Workspace) -> None:
        self._arm, self._settings = workspace.arm, workspace.settings

    def model(self) -> CatalogAsset:
        """Return the settings' model. The message of ConfigError lists archived versions, else near names."""
        settings = self._settings
        return self._find("models", settings.model, settings.model_label, key="model")

    def component(self) -> CatalogAsset:
        """Return the settings' fine-tuning component."""
        settings = self._settings
        return self._find("components", settings.component, settings.component_label, key="component")

    def _find(self, kind: str, name: str, label: str, *, key: str) -> CatalogAsset:
        if _NUMBER.fullmatch(label):
            version = self._get(f"{kind}/{name}/versions/{label}")
            if version is not None:
                return _asset(name, version)
        elif label == LATEST:
            newest = next(self._list(f"{kind}/{name}/versions", **{"$orderBy": "createdtime desc", "$top": "1"}), None)
            if newest is not None:
                return _asset(name, newest)
        else:
            raise ConfigError(f"{key}_label {label!r}: is {LATEST}, or a version's number")
        raise ConfigError(self._missing(kind, name, label, key))

    def _missing(self, kind: str, name: str, label: str, key: str) -> str:
        """Say what the registry has in place of a version that it lacks."""
        lacks = f"the registry {self._settings.registry} has no {key} {name} ({label})"
        versions = [str(row["name"]) for row in self._list(f"{kind}/{name}/versions", listViewType="All")]
        if versions and label == LATEST:
            return (
                f"{lacks}: Azure archived it, and what is archived has no latest version. To take it all the same: "
                f'{key}_label = "{versions[0]}" in phi3flow.toml'
            )
        if versions:
            return f"{lacks}: its versions are {', '.join(versions)}: set {key}_label in phi3flow.toml"
        names = sorted({str(row["name"]) for row in self._list(kind, listViewType="ActiveOnly")})
        near = difflib.get_close_matches(name, names, n=_NEAR, cutoff=0.4) or names[:_NEAR]
        return f"{lacks}; it has {', '.join(near) or 'none at all'}: set {key} in phi3flow.toml"

    @cached_property
    def _base(self) -> str:
        registry = self._settings.registry
        try:
            place = self._arm.get_url(f"{DISCOVERY}/{registry}/discovery", retries=_RETRIES)
        except ForbiddenError as error:
            raise _forbidden(self._settings, error) from error
        if place is None:
            raise ConfigError(f"there is no registry {registry}: set registry in phi3flow.toml, such as azureml")
        host = str(place["primaryRegionResourceProviderUri"]).rstrip("/")
        owner = f"subscriptions/{place['subscriptionId']}/resourceGroups/{place['resourceGroup']}"
        provider = "providers/Microsoft.MachineLearningServices/registries"
        return f"{host}/mferp/managementfrontend/{owner}/{provider}/{registry}"

    def _get(self, path: str) -> dict[str, Any] | None:
        try:
            return self._arm.get_url(f"{self._base}/{path}", retries=_RETRIES, **{"api-version": VERSION})
        except ForbiddenError as error:
            raise _forbidden(self._settings, error) from error

    def _list(self, path: str, **query: str) -> Iterator[dict[str, Any]]:
        """Give the items of a collection; none where its parent is missing."""
        try:
            yield from self._arm.list_url(f"{self._base}/{path}", {"api-version": VERSION, **query}, retries=_RETRIES)
        except ForbiddenError as error:
            raise _forbidden(self._settings, error) from error


def _asset(name: str, version: Mapping[str, Any]) -> CatalogAsset:
    properties = version["properties"]
    spec = properties.get("componentSpec") or {}
    return CatalogAsset(
        name=name,
        version=str(version["name"]),
        id=str(version["id"]),
        kind=str(properties.get("modelType") or ""),
        is_archived=bool(properties.get("isArchived")),
        tags=dict(properties.get("tags") or {}),
        inputs=frozenset(spec.get("inputs") or ()),
    )


def _forbidden(settings: AzureSettings, error: AzureError) -> ForbiddenError:
    return ForbiddenError(
        f"you may not read the registry {settings.registry} ({error}); its owner gives the role AzureML Registry User",
        status=error.status,
        code=error.code,
    )
