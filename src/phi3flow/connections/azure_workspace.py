"""The connections of the Azure workspace, or of the AI Foundry project, that this project uses."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from phi3flow.azure.settings import load_settings
from phi3flow.connections.definition import ConnectionDefinition, connect_command
from phi3flow.errors import BackendError, MissingExtraError
from phi3flow.project.environment import project_environment
from phi3flow.project.paths import SETTINGS_FILE
from phi3flow.text import first_sentence


def find_in_workspace(name: str, project: Path) -> ConnectionDefinition | None:
    """Ask the Azure workspace that config.json names, here or in a folder above, else the one of phi3flow.toml.

    None where neither is there, or it has no connection of this name. Raises MissingExtraError without the azure
    extra, BackendError where the workspace cannot be asked.
    """
    workspace = _read_workspace(project)
    if workspace is None:
        return None
    try:
        from promptflow.core._connection_provider._workspace_connection_provider import WorkspaceConnectionProvider
        from promptflow.core._errors import MissingRequiredPackage, OpenURLNotFoundError
    except ImportError as error:
        raise MissingExtraError("azure", error) from error
    logging.getLogger("azure.identity").setLevel(logging.ERROR)  # its warnings say at length what the error says
    try:
        entity = WorkspaceConnectionProvider(*workspace).get(name)
    except OpenURLNotFoundError:
        return None
    except (ImportError, MissingRequiredPackage) as error:
        raise MissingExtraError("azure", first_sentence(error)) from error
    except Exception as error:
        raise BackendError(
            f"the connection {name} is not on this machine, and the Azure workspace {workspace[2]} cannot be asked for "
            f"it ({first_sentence(error)}): az login, or {connect_command(name)}"
        ) from error
    return ConnectionDefinition.from_promptflow(entity, f"connection {name} of the Azure workspace {workspace[2]}")


def _read_workspace(project: Path) -> tuple[str, str, str] | None:
    """Return subscription, group and name of the workspace of config.json, else of the project's AI Foundry project."""
    for folder in (project, *project.parents):
        for file in (folder / ".azureml" / "config.json", folder / "config.json"):
            try:
                content = json.loads(file.read_bytes())
                return content["subscription_id"], content["resource_group"], content["workspace_name"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
    if not (project / SETTINGS_FILE).is_file() and "AZURE_SUBSCRIPTION_ID" not in project_environment(project):
        return None
    settings = load_settings(project)
    return settings.subscription_id, settings.resource_group, settings.project
