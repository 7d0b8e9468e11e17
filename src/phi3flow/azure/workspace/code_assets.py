"""Code as versioned assets, named after its content: what is there already is not uploaded again.

Not the SDK's own upload: it waits for ever once a file of a folder fails (azure-ai-ml 1.32,
_artifacts/_blob_storage_helper.py: the threads' errors are lost, and their files are waited for).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from phi3flow.azure.arm import ML_VERSION, Arm
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.sdk import persistently
from phi3flow.azure.workspace.workspace import Workspace

if TYPE_CHECKING:
    from azure.storage.blob import ContainerClient

VERSION = "1"
DATASTORE = "workspaceblobstore"


def ensure_code(workspace: Workspace, files: Mapping[str, bytes], *, role: str) -> str:
    """Upload a folder's files, by their paths in it, as a code asset unless it is there, and return the asset's id."""
    digest = _digest(files)
    code_id = f"{workspace.id}/codes/phi3flow-{role}-{digest[:16]}/versions/{VERSION}"
    if workspace.arm.get(code_id, ML_VERSION) is None:
        container = _container(workspace.arm, f"{workspace.id}/datastores/{DATASTORE}")
        folder = f"phi3flow/{role}-{digest[:16]}"

        def upload() -> None:
            for name, content in files.items():
                container.upload_blob(f"{folder}/{name}", content, overwrite=True)

        persistently(f"upload of the {role} code", upload)
        url = f"{container.url.partition('?')[0]}/{folder}"
        properties = {"codeUri": url, "tags": {**TAGS, "sha256": digest}}
        workspace.arm.put(code_id, ML_VERSION, {"properties": properties})
    return code_id


def _container(arm: Arm, datastore: str) -> ContainerClient:
    """Return the container of a datastore, opened with its own secret, else with the caller's login."""
    from azure.storage.blob import ContainerClient

    properties = (arm.get(datastore, ML_VERSION) or {}).get("properties", {})
    by_identity = (properties.get("credentials") or {}).get("credentialsType") == "None"
    secrets = {} if by_identity else arm.post(f"{datastore}/listSecrets", ML_VERSION)
    credential: Any = secrets.get("sasToken") or secrets.get("key") or arm.credential
    account = f"https://{properties['accountName']}.blob.{properties.get('endpoint') or 'core.windows.net'}"
    return ContainerClient(account, properties["containerName"], credential=credential, initial_backoff=1)


def _digest(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode())
        digest.update(files[name])
    return digest.hexdigest()
