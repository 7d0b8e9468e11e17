"""What commands say in wrong worlds, and the page of it: `python -m tests.azure.wrong_world_page` writes it anew."""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.journey import STEPS, make_project
from tests.azure.wrong_world import WrongWorld
from tests.azure.wrong_worlds import WORLDS
from tests.support.command_line import Done, phi3flow
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "azure-errors.md"
HEADER = """# What can stand in the way in Azure

Each entry is a test (tests/azure/wrong_worlds.py, and what it gathers): a subscription in which something is wrong, the
command, and what it says. Nothing was begun, or what was begun is taken back or goes on with the same command. Exit
codes: 1 something stands in the way of a plan, 2 settings or data, 3 Azure.
"""
WIDTH = 116


@contextlib.contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for a while."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def meet(world: WrongWorld, folder: Path) -> tuple[Done, AzureEmulator]:
    """Give a wrong world's command in an Azure of its own, and return what it did."""
    project = folder / "project"
    project.mkdir()
    make_project(project)
    with AzureEmulator(folder) as azure, environment(azure.environment):
        for verb in world.before:
            done = phi3flow(*STEPS[verb], cwd=project)
            assert done.returncode == 0, f"{verb}: {done.stderr}"
        if world.settings:
            (project / "phi3flow.toml").write_text(f"[azure]\n{world.settings}\n", encoding="utf-8")
        for name, text in world.files.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_text(text, encoding="utf-8")
        world.change(azure)
        with environment(world.environment):
            return phi3flow(*world.command, cwd=project), azure


def message_of(done: Done) -> str:
    """Return what a command says about what is wrong: an error on stderr, else the findings of a plan.

    A name that Azure makes up anew each time is left out.
    """
    _, found, error = done.stderr.partition("phi3flow: error: ")
    if found:
        return re.sub(r"\bftjob-[0-9a-f]{32}", "ftjob-…", " ".join(error.split()))
    return " ".join(line for line in done.stdout.splitlines() if line.startswith(("error: ", "warning: ")))


def entry(world: WrongWorld, exit_code: int, message: str) -> str:
    """Return a wrong world's entry, which its name is the anchor of."""
    lines = textwrap.wrap(message, WIDTH, break_long_words=False, break_on_hyphens=False)
    title = f"## {world.what[0].upper()}{world.what[1:]}"
    command = f"`phi3flow {' '.join(world.command)}`, exit code {exit_code}:"
    return "\n".join([title, "", command, "", "```", *lines, "```", ""])


def page() -> str:
    """Return the page of the documentation."""
    entries = []
    for world in WORLDS:
        with tempfile.TemporaryDirectory() as folder:
            done, _ = meet(world, Path(folder))
        entries.append(entry(world, done.returncode, message_of(done)))
    return "\n".join([HEADER, *entries])


if __name__ == "__main__":
    DOCS.write_text(page(), encoding="utf-8")
