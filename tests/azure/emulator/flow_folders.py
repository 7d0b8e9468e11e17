"""Flows as they were uploaded: what a service reads in their YAML before it runs them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from tests.azure.emulator.assets import Assets
from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.messages import ServiceError
from tests.azure.emulator.resources import Resources

_COLUMN = re.compile(r"\$\{data\.([^{}]+)\}")


@dataclass(frozen=True)
class UploadedFlow:
    """A flow's definition, its variants as they are by default."""

    definition: dict[str, Any]

    @property
    def inputs(self) -> dict[str, dict[str, Any]]:
        """The flow's inputs."""
        return self.definition.get("inputs") or {}

    @property
    def connections(self) -> list[str]:
        """The connections that nodes name: an LLM's, and inputs that are called connection."""
        variants = self.definition.get("node_variants") or {}
        names = []
        for node in self.definition["nodes"]:
            body = node
            if node.get("use_variants"):
                chosen = variants[node["name"]]
                body = chosen["variants"][chosen["default_variant_id"]]["node"]
            found = body.get("connection") or (body.get("inputs") or {}).get("connection")
            names += [found] if isinstance(found, str) else []
        return names


class FlowFolders:
    """Finds uploaded flows and data, and refuses what cannot run."""

    def __init__(self, resources: Resources, assets: Assets, blobs: Blobs) -> None:
        self._resources, self._assets, self._blobs = resources, assets, blobs

    def read(self, workspace: str, uri: str) -> UploadedFlow:
        """Return the flow whose YAML lies at an address. Raises ServiceError 400."""
        text = self._blobs.find(*self._assets.place(workspace, uri))
        if text is None:
            raise ServiceError(400, "UserError", f"There is no flow at {uri}.")
        return UploadedFlow(yaml.safe_load(text))

    def read_lines(self, workspace: str, uri: str) -> list[dict[str, Any]]:
        """Return the rows of a JSON Lines file. Raises ServiceError 400."""
        text = self._blobs.find(*self._assets.place(workspace, uri))
        if not text:
            raise ServiceError(400, "UserError", f"There is no data at {uri}.")
        return [json.loads(line) for line in text.splitlines()]

    def check_connections(self, workspace: str, flow: UploadedFlow) -> None:
        """Raise ServiceError 400 for a connection that neither the workspace nor its hub has."""
        properties = self._resources.need(workspace)["properties"]
        places = [workspace, *([properties["hubResourceId"]] if properties.get("hubResourceId") else [])]
        for name in flow.connections:
            if not any(self._resources.find(f"{place}/connections/{name}") for place in places):
                message = f"Connection {name} of workspace {workspace.rpartition('/')[2]} could not be found."
                raise ServiceError(400, "UserError", message)

    def check_mapping(self, flow: UploadedFlow, mapping: dict[str, str], rows: list[dict[str, Any]]) -> None:
        """Raise ServiceError 400 for a mapping that leaves an input without a value, or that names what is not there.

        Every row must have every column that is named: a table would hold NaN in its place.
        """
        unknown = sorted(set(mapping) - set(flow.inputs))
        if unknown:
            raise ServiceError(400, "UserError", f"The flow has no input {', '.join(unknown)}.")
        for name, described in flow.inputs.items():
            if name not in mapping and "default" not in (described or {}):
                raise ServiceError(400, "UserError", f"The input '{name}' has neither a value nor a default.")
        for name, value in mapping.items():
            column = _COLUMN.fullmatch(str(value))
            if column and not all(column[1] in row for row in rows):
                raise ServiceError(400, "UserError", f"The input '{name}' names {value}, which the data lacks.")


def map_row(mapping: dict[str, str], row: dict[str, Any]) -> dict[str, Any]:
    """Return a row's inputs."""
    columns = {name: _COLUMN.fullmatch(str(value)) for name, value in mapping.items()}
    return {name: row[found[1]] if found else mapping[name] for name, found in columns.items()}
