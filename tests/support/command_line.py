"""Run a command line in this process, as its user would: arguments in, exit code and both streams out."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from phi3flow.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a finished command leaves."""

    returncode: int
    stdout: str
    stderr: str


def phi3flow(*arguments: object, cwd: Path) -> Done:
    """Run ``phi3flow ARGUMENTS`` in the folder ``cwd``; quicker than a process where that is not what is tested."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.chdir(cwd), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        returncode = main([str(argument) for argument in arguments])
    return Done(returncode, stdout.getvalue(), stderr.getvalue())
