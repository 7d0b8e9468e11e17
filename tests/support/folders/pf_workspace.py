"""The real ``pf`` in a HOME of its own, over a copy of the chat flow."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.paths import FLOWS
from tests.support.servers.fault_endpoint import FaultEndpoint

FLOW = FLOWS / "chat_phi3"
PF = str(Path(sys.executable).with_name("pf"))
KEY = "key-of-the-test-0123456789"


class Workspace:
    """A copy of the flow, and a HOME whose promptflow store has its connections."""

    def __init__(self, folder: Path, endpoint: FaultEndpoint) -> None:
        self.endpoint = endpoint
        self.flow = folder / "chat_phi3"
        self.home = folder / "home"
        shutil.copytree(FLOW, self.flow, ignore=shutil.ignore_patterns("__pycache__", ".promptflow"))
        (self.home / ".promptflow").mkdir(parents=True)
        (self.home / ".promptflow" / "pf.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
        self.environment = {
            **os.environ,
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "PHI3_ENDPOINT": endpoint.url,
            "PHI3_KEY": KEY,
        }

    def pf(self, *arguments: str) -> str:
        """Run pf and return what it printed on stdout."""
        done = subprocess.run([PF, *arguments], env=self.environment, capture_output=True, text=True, cwd=self.home)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
