"""A flow's folder as it goes to the cloud: its files, with variant and connections in place, and no secret.

The folder itself is not sent, since the SDKs upload what git ignores too (``.env``), and promptflow's writes into it.
What is sent lies in one place for each flow: promptflow tells flows apart by their path, and two runs of a flow share a
compute session in AI Foundry, which takes minutes to start.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from phi3flow.errors import ConfigError
from phi3flow.flows import TOOLS_FILE, Flow
from phi3flow.project.paths import UPLOADS
from phi3flow.runs.promptflow_record import write_snapshot


@contextlib.contextmanager
def flow_to_upload(flow: Flow) -> Iterator[Path]:
    """Give the folder to upload, to one process at a time."""
    from filelock import FileLock

    folder = UPLOADS / flow.name
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(UPLOADS / f"{flow.name}.lock"):
        write_snapshot(folder, flow)
        if (flow.folder / TOOLS_FILE).is_file():
            (folder / TOOLS_FILE).parent.mkdir(exist_ok=True)
            shutil.copyfile(flow.folder / TOOLS_FILE, folder / TOOLS_FILE)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder, by its path there."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def need_tools_file(flow: Flow) -> None:
    """Raise ConfigError unless the flow's folder has the description of its tools."""
    if not (flow.folder / TOOLS_FILE).is_file():
        raise ConfigError(
            f"{flow.folder / TOOLS_FILE} is missing, without which Azure Machine Learning does not know the flow's "
            f"tools: pf flow validate --source {flow.folder}"
        )
