"""Docker images with a conda environment over them, as versions that are named after their content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from phi3flow.azure.arm import ML_VERSION, Arm
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.sdk import Sdk, persistently

IMAGE = "mcr.microsoft.com/azureml/openmpi4.1.0-cuda11.8-cudnn8-ubuntu22.04:latest"


def environment_version(conda_file: Path) -> str:
    """The environment's content is its version: a change of ours makes another."""
    content = conda_file.read_bytes() + IMAGE.encode()
    return str(int(hashlib.sha256(content).hexdigest()[:7], 16))


def environment_id(settings: AzureSettings, name: str, conda_file: Path) -> str:
    """Return the id of the version that has this content, or will."""
    version = environment_version(conda_file)
    return f"{settings.workspace_id(settings.workspace)}/environments/{name}/versions/{version}"


def ensure_environment(arm: Arm, sdk: Sdk, settings: AzureSettings, name: str, conda_file: Path) -> str:
    """Register an environment, unless it is there already, and return its id. Azure builds it when a job needs it."""
    wanted = environment_id(settings, name, conda_file)
    if arm.get(wanted, ML_VERSION) is None:
        from azure.ai.ml.entities import Environment

        environment = Environment(
            name=name, version=environment_version(conda_file), image=IMAGE, conda_file=str(conda_file), tags=TAGS
        )
        persistently(f"environment {name}", lambda: sdk.workspace.environments.create_or_update(environment))
    return wanted
