"""The environment of a project: the process's own, over what the project's .env file says."""

from __future__ import annotations

import os
from pathlib import Path

from phi3flow.errors import ConfigError


def project_environment(project: Path) -> dict[str, str]:
    """Return the variables of ``project``/.env and of this process, which win. Raises ConfigError for a bad file."""
    from dotenv import dotenv_values

    file = project / ".env"
    try:
        values = dotenv_values(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {type(error).__name__}") from error
    return {**{key: value for key, value in values.items() if value is not None}, **os.environ}
