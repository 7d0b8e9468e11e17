"""The backends by name: the one place that knows all of them, and imports the one that is asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.errors import ConfigError
from phi3flow.project.paths import PROJECT

if TYPE_CHECKING:
    from phi3flow.backends.backend import AnyBackend

BACKENDS = {
    "local": "phi3flow.backends.local.backend:LocalBackend",
    "azureml": "phi3flow.backends.azureml.backend:AzureMLBackend",
    "serverless": "phi3flow.backends.serverless.backend:ServerlessBackend",
    "azure-openai": "phi3flow.backends.azure_openai.backend:AzureOpenAIBackend",
}
"""Where the class of each backend is, by what ``--backend`` calls it."""
DEFAULT_BACKEND = "local"


def open_backend(name: str, project: Path = PROJECT) -> AnyBackend:
    """Return the backend of a name for the project in a folder; nothing is asked or sent yet.

    Raises ConfigError for a name that is none's.
    """
    if name not in BACKENDS:
        raise ConfigError(f"there is no backend {name}; there are {', '.join(BACKENDS)}")
    module, _, class_name = BACKENDS[name].partition(":")
    backend: AnyBackend = getattr(importlib.import_module(module), class_name)(project)
    return backend
