"""The workspace that a project's settings name, with the clients that ask for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from phi3flow.azure.arm import ML_VERSION, Arm, log_in
from phi3flow.azure.settings import AzureSettings, load_settings, plain_region
from phi3flow.azure.workspace.sdk import Sdk
from phi3flow.project.paths import PROJECT


@dataclass(frozen=True)
class Workspace:
    """What a function needs to work in a workspace: ``arm`` asks Azure, ``settings`` name things, ``sdk`` sends what
    only azure-ai-ml can. It need not exist."""

    arm: Arm
    settings: AzureSettings
    sdk: Sdk

    @cached_property
    def resource(self) -> dict[str, Any] | None:
        """The workspace as it was when it was first asked for, None where there was none."""
        return self.arm.get(self.id, ML_VERSION)

    @property
    def location(self) -> str:
        """The region where everything of the workspace is: its own, and the settings' as long as there is none."""
        return plain_region(str((self.resource or {}).get("location") or self.settings.location))

    @property
    def id(self) -> str:
        """The workspace's id in Azure Resource Manager."""
        return self.settings.workspace_id(self.settings.workspace)

    @property
    def of_project(self) -> Workspace:
        """The AI Foundry project of the settings, which is a workspace of a kind."""
        settings = self.settings.model_copy(update={"workspace": self.settings.project})
        return Workspace(self.arm, settings, Sdk(self.arm, settings))

    def with_model(self, reference: str) -> Workspace:
        """Return the same workspace, whose settings name another model of the registry, NAME or NAME:VERSION."""
        model, _, version = reference.partition(":")
        label = version or (self.settings.model_label if model == self.settings.model else "latest")
        return replace(self, settings=self.settings.model_copy(update={"model": model, "model_label": label}))


def open_workspace(project: Path = PROJECT) -> Workspace:
    """Return the workspace of ``project``'s phi3flow.toml, for whoever is logged in; nothing is asked yet.

    Raises ConfigError for settings that are missing or malformed, MissingExtraError.
    """
    settings = load_settings(project)
    arm = log_in()
    return Workspace(arm, settings, Sdk(arm, settings))
