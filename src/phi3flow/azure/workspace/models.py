"""Models of the workspace: a job's output as a version, with tags that say where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from phi3flow.azure.arm import ML_VERSION, writable
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.sdk import persistently
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.errors import AzureError

JOB_TAG = "phi3flow.job"


class Models:
    """The registered models of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._arm, self._sdk = workspace.arm, workspace.sdk
        self._collection = f"{workspace.id}/models"

    def read(self, name: str, version: str) -> dict[str, Any] | None:
        """Return a version, None where there is none."""
        return self._arm.get(self.id_of(name, version), ML_VERSION)

    def latest(self, name: str) -> str | None:
        """Return the highest version of a model, None where there is none."""
        versions = [str(version["name"]) for version in self._versions(name)]
        return max(
            versions,
            key=lambda version: (version.isdecimal(), int(version) if version.isdecimal() else 0),
            default=None,
        )

    def register(self, name: str, *, job: str, output: str, kind: str, tags: Mapping[str, str]) -> str:
        """Register a job's output and return the version; one that was registered already keeps its version."""
        versions = self._versions(name)
        for version in versions:
            if (version["properties"].get("tags") or {}).get(JOB_TAG) == job:
                return str(version["name"])
        from azure.ai.ml.entities import Model

        numbers = [int(version["name"]) for version in versions if str(version["name"]).isdecimal()]
        number = 1 + max(numbers, default=0)
        model = Model(
            name=name,
            version=str(number),
            path=f"azureml://jobs/{job}/outputs/{output}",
            type=kind,
            tags={**TAGS, **tags, JOB_TAG: job},
        )
        persistently(f"model {name} from job {job}", lambda: self._sdk.workspace.models.create_or_update(model))
        return str(number)

    def tag(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Put tags on a version that is there, beside those that it has; nothing is sent where it has them already.

        Raises AzureError where it is not there.
        """
        existing = self.read(name, version)
        if existing is None:
            raise AzureError(f"model {name}:{version} is not there")
        before = existing["properties"].get("tags") or {}
        after = {**before, **TAGS, **tags}
        if after != before:
            body = writable(existing)
            body["properties"]["tags"] = after
            self._arm.put(self.id_of(name, version), ML_VERSION, body)

    def delete(self, name: str, version: str) -> None:
        """Delete a version. Raises AzureError where a deployment stands on it."""
        self._arm.delete(self.id_of(name, version), ML_VERSION)

    def id_of(self, name: str, version: str) -> str:
        """Return a version's id."""
        return f"{self._collection}/{name}/versions/{version}"

    def _versions(self, name: str) -> list[dict[str, Any]]:
        return list(self._arm.list(f"{self._collection}/{name}/versions", ML_VERSION))
