"""A copy of the source tree and of the contract in pyproject.toml, to see which imports import-linter refuses."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.paths import ROOT

_LINTER = """
import sys
from importlinter.cli import lint_imports
for _ in sys.stdin:
    print("exit code", lint_imports(config_filename="pyproject.toml", no_logo=True), flush=True)
"""


class LintedCopy:
    """The copy, as a context manager; one process lints it again and again, which starts the linter only once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(ROOT / "pyproject.toml", folder)

    def __enter__(self) -> LintedCopy:
        environment = os.environ | {"PYTHONPATH": str(self.folder / "src"), "COLUMNS": "200"}
        self._linter = subprocess.Popen(
            [sys.executable, "-c", _LINTER],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._linter.communicate()

    def lint(self) -> tuple[int, str]:
        """Lint the copy as it stands: return lint-imports' exit code and its report."""
        assert self._linter.stdin
        assert self._linter.stdout
        self._linter.stdin.write("\n")
        self._linter.stdin.flush()
        report = ""
        for line in self._linter.stdout:
            if line.startswith("exit code "):
                return int(line.split()[-1]), report
            report += line
        raise AssertionError(f"the linter ended: {report}")

    @contextmanager
    def adding(self, code: str, *, module: str) -> Iterator[None]:
        """Add lines to a module of phi3flow, which is made where there is none, and take them back afterwards."""
        path = self._path(module)
        before = path.read_text(encoding="utf-8") if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{before or ''}\n{code}\n", encoding="utf-8")
        try:
            yield
        finally:
            if before is None:
                path.unlink()
            else:
                path.write_text(before, encoding="utf-8")

    def _path(self, module: str) -> Path:
        path = self.folder / "src/phi3flow" / module.replace(".", "/")
        return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
