"""`make check-openai`: the newest openai package, in an environment of its own, against the emulated Azure OpenAI."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tests.azure import openai_scenario
from tests.azure.arm_client import ARM, ArmClient
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import World
from tests.azure.openai_account import ACCOUNT, ENDPOINT, make_account


def main() -> int:
    """Install it, take the whole way with it, and return the exit code."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        python = _install(folder / "venv")
        world = World(unregistered=set(), operation_polls=1, poll_ms=1)
        with AzureEmulator(folder, world) as azure:
            os.environ.update(azure.environment)
            key = make_account(ArmClient("2025-06-01"))
            token = azure.identity.mint(ARM)
            asked = {"OPENAI_BASE_URL": f"{ENDPOINT}openai/v1/", "OPENAI_API_KEY": key}
            settings = {**os.environ, **asked, "ARM_ACCOUNT": f"{ARM}{ACCOUNT}", "ARM_TOKEN": token}
            return subprocess.run([python, openai_scenario.__file__], env=settings, check=False).returncode


def _install(folder: Path) -> Path:
    """Return the interpreter of a new environment with the newest openai."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "openai"]
    subprocess.run(pip, check=True)
    return python


if __name__ == "__main__":
    sys.exit(main())
