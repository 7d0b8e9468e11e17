"""Where promptflow keeps its store."""

from __future__ import annotations

import os
from pathlib import Path


def promptflow_home() -> Path:
    """Return where promptflow keeps its store: what ``PF_HOME_DIRECTORY`` says, else ``~/.promptflow``."""
    return Path(os.environ.get("PF_HOME_DIRECTORY") or Path.home() / ".promptflow")
