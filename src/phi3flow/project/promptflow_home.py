"""promptflow on this machine: where it keeps its store, and whether it tells Microsoft of its use."""

from __future__ import annotations

import os
from pathlib import Path


def promptflow_home() -> Path:
    """Return where promptflow keeps its store: what ``PF_HOME_DIRECTORY`` says, else ``~/.promptflow``."""
    return Path(os.environ.get("PF_HOME_DIRECTORY") or Path.home() / ".promptflow")


def without_telemetry() -> None:
    """Have promptflow send no telemetry from this process; its settings in the user's home stay as they are."""
    from promptflow._sdk._configuration import Configuration

    Configuration.get_instance().config["telemetry"] = {"enabled": False}
