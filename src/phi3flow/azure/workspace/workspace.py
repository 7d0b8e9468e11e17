"""The workspace that a project's settings name, with the clients that ask for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from phi3flow.azure.arm import Arm, log_in
from phi3flow.azure.settings import AzureSettings, load_settings
from phi3flow.azure.workspace.sdk import Sdk
from phi3flow.project.paths import PROJECT


@dataclass(frozen=True)
class Workspace:
    """What a function needs to work in a workspace: ``arm`` asks Azure, ``settings`` name things, ``sdk`` sends what
    only azure-ai-ml can. Whether the workspace exists is not looked at."""

    arm: Arm
    settings: AzureSettings
    sdk: Sdk

    @property
    def id(self) -> str:
        """The workspace's id in Azure Resource Manager."""
        return self.settings.workspace_id(self.settings.workspace)

    def with_model(self, model: str) -> Workspace:
        """Return the same workspace, whose settings name another model of the registry."""
        return replace(self, settings=self.settings.model_copy(update={"model": model}))


def open_workspace(project: Path = PROJECT) -> Workspace:
    """Return the workspace of ``project``'s phi3flow.toml, for whoever is logged in; nothing is asked yet.

    Raises ConfigError for settings that are missing or malformed, MissingExtraError.
    """
    settings = load_settings(project)
    arm = log_in()
    return Workspace(arm, settings, Sdk(arm, settings))
