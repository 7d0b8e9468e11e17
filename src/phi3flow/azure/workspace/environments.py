"""Docker images with a conda environment over them, as versions that are named after their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from phi3flow.azure.arm import ML_VERSION
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.sdk import persistently
from phi3flow.azure.workspace.workspace import Workspace

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04:latest"


def environment_version(conda_file: Path) -> str:
    """The environment's content is its version: a change of ours makes another."""
    content = conda_file.read_bytes() + IMAGE.encode()
    return str(int(hashlib.sha256(content).hexdigest()[:7], 16))


def environment_id(workspace: Workspace, name: str, conda_file: Path) -> str:
    """Return the id of the version that has this content, or will."""
    version = environment_version(conda_file)
    return f"{workspace.id}/environments/{name}/versions/{version}"


def ensure_environment(workspace: Workspace, name: str, conda_file: Path) -> str:
    """Register an environment, unless it is there already, and return its id. Azure builds it when a job needs it."""
    asset_id = environment_id(workspace, name, conda_file)
    if workspace.arm.get(asset_id, ML_VERSION) is None:
        from azure.ai.ml.entities import Environment

        environment = Environment(
            name=name, version=environment_version(conda_file), image=IMAGE, conda_file=str(conda_file), tags=TAGS
        )
        persistently(f"environment {name}", lambda: workspace.sdk.workspace.environments.create_or_update(environment))
    return asset_id
