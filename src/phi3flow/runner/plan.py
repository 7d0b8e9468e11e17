"""What is to be run, and the manifest that it will have."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phi3flow import __version__
from phi3flow.flows import Flow
from phi3flow.flows.column_mapping import complete_mapping, warn_of_samples
from phi3flow.records.runs import Counts, History, Manifest, RunParameters
from phi3flow.runner.data_lines import DataLines
from phi3flow.runner.options import RunOptions
from phi3flow.runner.stop_rule import StopRule
from phi3flow.runs.run_name import fit_run_name

_DIGITS = 16  # of a value's hash: enough to tell that it is another


def default_run_name(flow: Flow, history: History = "given") -> str:
    """Name a run after flow, variant, replaced connections and fingerprint: the same command finds it again.

    A flow's folder may have any name.
    """
    variant = flow.variant.strip("${}").split(".", 1)[1] if flow.variant else None
    own_history = "own-history" if history == "own" else None
    words = [flow.name, variant, *flow.overrides.values(), own_history]
    return f"{fit_run_name('-'.join(word for word in words if word))}-{flow.fingerprint[:8]}"


@dataclass(frozen=True)
class RunPlan:
    """A flow, with its connections in place, over its data.

    ``environment`` is set for the flow; ``limit`` takes the first lines only, with a ``stop_rule``, which ends the run
    when it is decided, the first of the order that is drawn for all of the data; ``cache`` is the file of answers at
    temperature 0; each line runs ``repeats`` times; ``history`` says whose answers a line's chat history has, the
    data's or the model's own. The run's folder is ``runs_dir``/``name``.
    """

    flow: Flow
    data: Path
    runs_dir: Path
    name: str
    column_mapping: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    options: RunOptions = field(default_factory=RunOptions)
    limit: int | None = None
    cache: Path | None = None
    stop_rule: StopRule | None = None
    repeats: int = 1
    history: History = "given"

    def read(self) -> PlannedRun:
        """Read the whole data file. Raises DatasetError for a line that does not parse, ColumnMappingError.

        Raises ConfigError for a tokenizer that is none.
        """
        if self.options.tokenizer:
            from phi3flow.datasets.tokens import tokenizer_counter

            tokenizer_counter(self.options.tokenizer)
        lines = DataLines.scan(self.data, limit=None if self.stop_rule else self.limit, repeats=self.repeats)
        to_run = min(lines.total, self.limit or lines.total) if self.stop_rule else lines.total
        mapping = complete_mapping(
            self.column_mapping,
            inputs=self.flow.inputs,
            columns={"data": list(lines.stated)},
            where=str(self.flow.folder),
        )
        warn_of_samples(
            mapping,
            inputs=self.flow.inputs,
            stated={"data": lines.stated},
            lines=lines.lines,
            where=str(self.flow.folder),
        )
        return PlannedRun(lines, to_run, mapping, self._manifest(lines, to_run, mapping))

    def _manifest(self, lines: DataLines, to_run: int, mapping: Mapping[str, Any]) -> Manifest:
        options = self.options
        return Manifest(
            name=self.name,
            status="Running",
            flow=str(self.flow.path),
            flow_fingerprint=self.flow.fingerprint,
            data=str(self.data.resolve()),
            data_sha256=lines.sha256,
            column_mapping={key: str(value) for key, value in mapping.items()},
            variant=self.flow.variant,
            environment={name: _digest(value) for name, value in sorted(self.environment.items())},
            parameters=RunParameters(
                timeout_s=options.limits.timeout_s,
                max_retries=options.limits.max_retries,
                connections=self.flow.overrides,
                history=self.history,
                init=self.flow.init,
                repeats=lines.repeats,
                lines=lines.lines if lines.repeats > 1 or to_run < lines.total else None,
                prices=options.prices,
            ),
            concurrency=options.limits.concurrency or "auto",
            counts=Counts(total=to_run),
            started_at=datetime.now(UTC),
            versions=_versions(),
            git_commit=_git_commit(self.flow.folder),
        )


@dataclass(frozen=True)
class PlannedRun:
    """A plan whose data is read: the lines, how they become inputs, and the manifest of a run that has not begun.

    ``to_run`` of the lines will run.
    """

    lines: DataLines
    to_run: int
    mapping: dict[str, Any]
    manifest: Manifest


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]


def _versions() -> dict[str, str]:
    versions = {"phi3flow": __version__}
    for name in ("promptflow-core", "promptflow-tools"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _git_commit(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
