"""Files as versioned data assets, named after their content: what is there already is not uploaded again."""

from __future__ import annotations

from pathlib import Path

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.sdk import persistently
from phi3flow.azure.workspace.workspace import Workspace
from phi3flow.storage.jsonl import file_sha256

VERSION = "1"


def data_id(workspace: Workspace, path: Path, *, role: str) -> str:
    """Return the id of the data asset that holds a file, or will.

    ``role`` is what the asset is for, such as train; its name ends in the file's hash.
    """
    name = f"phi3flow-{role}-{file_sha256(path)[:16]}"
    return f"{workspace.id}/data/{name}/versions/{VERSION}"


def ensure_data(workspace: Workspace, path: Path, *, role: str) -> str:
    """Upload a file as a data asset, unless it is there already, and return the asset's id."""
    asset_id = data_id(workspace, path, role=role)
    if workspace.arm.get(asset_id, ML_VERSION) is None:
        from azure.ai.ml.entities import Data

        name, tags = asset_id.split("/")[-3], {**TAGS, "sha256": file_sha256(path), "role": role}
        data = Data(name=name, version=VERSION, type="uri_file", path=str(path), tags=tags)
        persistently(f"upload of {path}", lambda: workspace.sdk.workspace.data.create_or_update(data))
    return asset_id
