"""The run folder ``old``, as version 1 wrote it: three lines, of which one failed, scored with --failed-as-zero."""

from __future__ import annotations

import shutil
from pathlib import Path

from phi3flow.runs.folder import RunFolder

_FOLDER = Path(__file__).with_name("version_1")


def version_1_run(runs_dir: Path) -> RunFolder:
    """Copy the run and its data into ``runs_dir``."""
    shutil.copytree(_FOLDER, runs_dir)
    manifest = runs_dir / "old" / "manifest.json"
    manifest.write_text(manifest.read_text().replace("{runs_dir}", str(runs_dir)))
    return RunFolder(runs_dir / "old")
