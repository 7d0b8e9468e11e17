"""`make check-openai`: the newest openai package, in an environment of its own, against the emulated Azure OpenAI.

It takes the whole way by itself, and then the verbs take it with that package in place of the one that is locked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from tests.azure import openai_scenario
from tests.azure.arm_client import ARM
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import World
from tests.azure.openai_account import ACCOUNT, ENDPOINT
from tests.azure.openai_project import BACKEND, MODEL, OpenAIProject, make_project
from tests.support.paths import ROOT

FINE_TUNE = ("fine-tune", *BACKEND, "--model", MODEL, "--yes")
BY_LOGIN = (
    (*FINE_TUNE, "--suffix", "support", "--epochs", "2"),
    ("register", *BACKEND),
    ("deploy", *BACKEND, "--name", "support", "--yes"),
    ("status", *BACKEND),
    ("undeploy", "support", *BACKEND, "--cascade", "--yes"),
)
BY_KEY = (
    (*FINE_TUNE, "--seed", "1", "--detach"),
    ("cancel", *BACKEND, "--yes"),
    (*FINE_TUNE, "--seed", "2"),
    ("register", *BACKEND),
)


def main(requirement: str = "openai") -> int:
    """Install it, take both ways with it, and return the exit code."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        python = _install(folder / "venv", requirement)
        with AzureEmulator(folder, World(operation_polls=1, poll_ms=1)) as azure:
            os.environ.update(azure.environment)
            (folder / "project").mkdir()
            project = make_project(azure, folder / "project", kind="OpenAI")
            return _take_by_itself(python, azure) or _give_verbs(python, project)


def _take_by_itself(python: Path, azure: AzureEmulator) -> int:
    asked = {"OPENAI_BASE_URL": f"{ENDPOINT}openai/v1/", "OPENAI_API_KEY": azure.openai.accounts.keys(ACCOUNT)["key1"]}
    settings = {**os.environ, **asked, "ARM_ACCOUNT": f"{ARM}{ACCOUNT}", "ARM_TOKEN": azure.identity.mint(ARM)}
    return subprocess.run([python, openai_scenario.__file__], env=settings, check=False).returncode


def _give_verbs(python: Path, project: OpenAIProject) -> int:
    """Give our verbs, with a login and then with a key alone; all else that they import is this environment's."""
    libraries = next((python.parents[1] / "lib").glob("python*/site-packages"))
    (libraries / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    keyed = {"AZURE_OPENAI_ENDPOINT": ENDPOINT, "AZURE_OPENAI_API_KEY": project.keys[0], "AZURE_SUBSCRIPTION_ID": ""}
    for commands, variables in ((BY_LOGIN, {}), (BY_KEY, keyed)):
        for command in commands:
            if returncode := _give(python, command, project.folder, variables):
                return returncode
    return 0


def _give(python: Path, command: Sequence[str], folder: Path, variables: dict[str, str]) -> int:
    settings = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    program = [python, "-m", "phi3flow.cli.main", *command]
    done = subprocess.run(program, cwd=folder, env=settings, check=False, capture_output=True, text=True)
    sys.stdout.write(f"phi3flow {' '.join(command)}: exit code {done.returncode}\n")
    sys.stdout.write(done.stderr if done.returncode else "")
    return done.returncode


def _install(folder: Path, requirement: str) -> Path:
    """Return the interpreter of a new environment with the newest openai, or the one that is asked for."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
    subprocess.run(pip, check=True)
    return python


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
