"""Writing a run folder: one appended line a result, and a manifest that says how the run stands."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from phi3flow.errors import ConfigError, ResumeMismatchError
from phi3flow.flows.own_files import is_among, read_own_files
from phi3flow.records.comparisons import StoppedEarly
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.lines import LineResult, Usage
from phi3flow.records.record import SCHEMA_VERSION
from phi3flow.records.runs import AggregationRecord, Counts, Manifest, Prices, RunStatus
from phi3flow.runs.folder import (
    AGGREGATION_INPUTS_FILE,
    RunFolder,
    lock,
    read_record,
    refuse_other_folder,
)
from phi3flow.runs.outcomes import LineOutcomes
from phi3flow.runs.promptflow_record import write_pf_metrics
from phi3flow.runs.results_file import RESULTS_FILE, mend_results
from phi3flow.runs.run_name import is_run_name
from phi3flow.storage.appended import AppendedLines
from phi3flow.storage.files import write_file, write_files
from phi3flow.storage.jsonl import file_sha256

_LOG = logging.getLogger(__name__)

FLOW_FILES_FILE = "flow_files.json"
_MOST_NAMED = 10


class RunWriter:
    """Writes one run: a lock, a manifest, and one appended line a result.

    Open it with ``RunWriter.open``; use it as a context manager, which releases the lock and nothing else:
    ``finish`` states how the run ended. A kill at any moment loses at most the lines in flight.
    """

    def __init__(self, results: AppendedLines, manifest: Manifest, outcomes: LineOutcomes) -> None:
        self.path = results.path.parent
        self._results = results
        self._manifest = manifest
        self._outcomes = outcomes
        self._aggregation_inputs: AppendedLines | None = None
        self._beside: dict[str, AppendedLines] = {}
        self._held = ExitStack()

    @classmethod
    def open(
        cls,
        runs_dir: Path,
        manifest: Manifest,
        *,
        flow_files: Mapping[str, str] | None = None,
        connections: Mapping[str, ConnectionUse] | None = None,
        fresh: bool = False,
    ) -> RunWriter:
        """Create the folder of ``manifest.name`` under ``runs_dir``, or go on where it was left.

        ``flow_files`` are the flow's files with their SHA-256, kept to name what has changed; ``connections`` what
        those that the run had stand for now, as far as that is known. Raises ResumeMismatchError where it had another
        flow, data, mapping, variant, environment or endpoint (``fresh`` starts over), ConfigError where another process
        writes it, the name is no file name, or something else than a run is there.
        """
        if not is_run_name(manifest.name):
            raise ConfigError(f"run name {manifest.name!r}: use letters, digits, '.', '_' and '-', at most 128")
        path = runs_dir.resolve() / manifest.name
        refuse_other_folder(path)
        with ExitStack() as held:
            held.enter_context(lock(path))
            if fresh:
                _clear(path)
            manifest, outcomes = _resume(path, manifest, flow_files or {}, connections or {})
            _write_manifest(path, manifest)  # first of all: it says that the folder is a run
            if flow_files:
                write_file(path / FLOW_FILES_FILE, json.dumps(flow_files, indent=2).encode())
            writer = cls(held.enter_context(AppendedLines(path / RESULTS_FILE)), manifest, outcomes)
            writer._held = held.pop_all()
        return writer

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    @property
    def manifest(self) -> Manifest:
        """The manifest as last written, with the counts as they stand now."""
        return self._manifest.model_copy(update={"counts": self.counts})

    @property
    def counts(self) -> Counts:
        """How many lines there are and what became of them so far."""
        return self._outcomes.counts

    def is_completed(self, number: int) -> bool:
        """Whether a line needs no further attempt."""
        return self._outcomes.is_completed(number)

    def append(
        self,
        number: int,
        line: bytes,
        *,
        completed: bool,
        attempts: int,
        usage: Usage | None = None,
        aggregation_inputs: bytes | None = None,
        beside: Iterable[tuple[str, bytes]] = (),
    ) -> None:
        """Append one serialised LineResult, unbuffered, so that a kill loses at most the lines in flight.

        ``aggregation_inputs``, JSON of what the flow's aggregation will want of the line, goes to disk before it, as
        does what is to stand ``beside`` it, by the name of its file.
        A write that the disk refuses leaves no torn line behind and raises StorageError.
        """
        if aggregation_inputs is not None:
            self._keep_aggregation_inputs(number, aggregation_inputs)
        self.append_beside(beside)
        self._results.append(line + b"\n")
        self._outcomes.add(number, completed=completed, attempts=attempts, usage=usage)

    def append_beside(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Append to files of the run's folder, by their names. Raises StorageError where the disk refuses."""
        for name, content in files:
            if name not in self._beside:
                file = AppendedLines(self.path / name, of_json=name.endswith(".jsonl"))
                self._beside[name] = self._held.enter_context(file)
            self._beside[name].append(content)

    def keep_file(self, path: str, content: bytes) -> None:
        """Keep a file that a result refers to, whole, before the result. Raises StorageError where the disk refuses."""
        file = self.path / path
        if not file.is_file():
            write_files({file: [content]})

    def append_all(self, results: Iterable[LineResult]) -> None:
        """Append many results, either all of them or none; a line that is completed already keeps its result."""
        path, outcomes = self.path / RESULTS_FILE, copy.deepcopy(self._outcomes)
        write_files({path: itertools.chain(_blocks(path), _new_lines(results, outcomes))})
        self._results.reopen()
        self._outcomes = outcomes

    def _keep_aggregation_inputs(self, number: int, content: bytes) -> None:
        if self._aggregation_inputs is None:
            self._aggregation_inputs = self._held.enter_context(AppendedLines(self.path / AGGREGATION_INPUTS_FILE))
        self._aggregation_inputs.append(b'{"line_number":%d,"aggregation_inputs":%b}\n' % (number, content))

    def use_jobs(self, jobs: Sequence[str]) -> None:
        """Record which jobs in the cloud gave the run's results."""
        parameters = self._manifest.parameters.model_copy(update={"jobs": tuple(jobs)})
        self._manifest = self._manifest.model_copy(update={"parameters": parameters})
        self._write_manifest()

    def end_aggregation(self, metrics: Mapping[str, Any], record: AggregationRecord) -> None:
        """Record what the flow's aggregation logged, and whether it failed, in place of what was recorded before."""
        write_file(self.path / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False).encode())
        write_pf_metrics(RunFolder(self.path))
        self._manifest = self._manifest.model_copy(update={"aggregation": record})
        self._write_manifest()

    def use_connections(self, connections: Mapping[str, ConnectionUse]) -> None:
        """Record which connections the flow uses; what an endpoint serves stays known where it does not say it now."""
        before = self._manifest.connections
        uses = {
            name: use.model_copy(update={"serves": use.serves or (before[name].serves if name in before else None)})
            for name, use in connections.items()
        }
        self._manifest = self._manifest.model_copy(update={"connections": uses})
        self._write_manifest()

    def note_flow_changes(self, began: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Record which files of the flow are not what they were, and warn: its answers may be of both."""
        if changes := _differences(self._manifest, began, now):
            known = dict.fromkeys([*self._manifest.flow_changes, *changes])
            self._manifest = self._manifest.model_copy(update={"flow_changes": tuple(known)})
            _LOG.warning(
                "warning: the flow changed while it ran: %s; answers that rest on this are of either. "
                "--fresh runs it again",
                _listed(changes),
            )

    def finish(
        self,
        status: RunStatus,
        *,
        duration_s: float,
        prices: Prices | None = None,
        stopped_early: StoppedEarly | None = None,
    ) -> Manifest:
        """Write how the run ended, ``duration_s`` after this opening, and return the manifest."""
        self._manifest = self.manifest.model_copy(
            update={
                "status": status,
                "tokens": self._outcomes.tokens(prices),
                "cache_hits": self._outcomes.cache_hits,
                "stopped_early": stopped_early,
                "results_sha256": file_sha256(self._results.path),
                "ended_at": datetime.now(UTC),
                "duration_s": round(self._manifest.duration_s + duration_s, 3),
            }
        )
        self._write_manifest()
        return self._manifest

    def _write_manifest(self) -> None:
        _write_manifest(self.path, self._manifest)


def _write_manifest(path: Path, manifest: Manifest) -> None:
    write_file(path / "manifest.json", manifest.model_dump_json(indent=2).encode() + b"\n")


def _resume(
    path: Path, manifest: Manifest, flow_files: Mapping[str, str], connections: Mapping[str, ConnectionUse]
) -> tuple[Manifest, LineOutcomes]:
    outcomes = LineOutcomes(manifest.counts.total, lines=manifest.lines)
    file = path / "manifest.json"
    if not file.is_file():
        return manifest, outcomes
    before = read_record(Manifest, file)
    _refuse_version(before)
    _refuse_changes(before, manifest, _changed_files(path / FLOW_FILES_FILE, before, flow_files), connections)
    lines = max(manifest.counts.total, manifest.lines, before.counts.total, before.lines)
    for result in mend_results(path / RESULTS_FILE, before, lines):
        completed = result.status == "Completed"
        outcomes.add(result.line_number, completed=completed, attempts=result.attempts, usage=result.usage)
    kept = {
        name: getattr(before, name)
        for name in ("started_at", "duration_s", "connections", "stopped_early", "aggregation", "flow_changes")
    }
    return manifest.model_copy(update={**kept, "counts": outcomes.counts}), outcomes


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def _new_lines(results: Iterable[LineResult], outcomes: LineOutcomes) -> Iterator[bytes]:
    for result in results:
        if not outcomes.is_completed(result.line_number):
            completed = result.status == "Completed"
            outcomes.add(result.line_number, completed=completed, attempts=result.attempts, usage=result.usage)
            yield result.model_dump_json().encode() + b"\n"


def _refuse_version(before: Manifest) -> None:
    if before.schema_version != SCHEMA_VERSION:
        raise ResumeMismatchError(
            f"run {before.name} is a run folder of version {before.schema_version}, this is version {SCHEMA_VERSION}: "
            "it can be read and scored, not gone on with. Give it another --name, or --fresh to start it over"
        )


def _changed_files(file: Path, before: Manifest, now: Mapping[str, str]) -> str:
    """Say which of the flow's files are not what they were when the run began, as far as its folder tells."""
    try:
        began = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return ""
    if not isinstance(began, dict):
        return ""
    return _listed(_differences(before, began, now))


def _differences(manifest: Manifest, began: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say what became of each file that is not what it was, but for what the run's flow wrote itself."""
    own = read_own_files(Path(manifest.flow))
    wrote = own.wrote.get(manifest.flow_fingerprint, {})
    was = {**own.read, **began}

    def fate(name: str) -> str:
        if now.get(name, str(None)) == str(None):
            return "is gone"
        return "is new" if was.get(name) is None else "has changed"

    changed = (name for name in sorted({*began, *now}) if began.get(name) != now.get(name))
    return [f"{name} {fate(name)}" for name in changed if not is_among(name, wrote)]


def _listed(changes: Sequence[str]) -> str:
    return ", ".join([*changes[:_MOST_NAMED], *(["…"] if len(changes) > _MOST_NAMED else [])])


def _refuse_changes(
    before: Manifest, now: Manifest, changed_files: str, connections: Mapping[str, ConnectionUse]
) -> None:
    made_of = ("flow_fingerprint", "data_sha256", "column_mapping", "variant")
    values = [(name, getattr(before, name), getattr(now, name)) for name in made_of]
    for name in ("connections", "init", "history"):
        was, is_now = (getattr(manifest.parameters, name) or {} for manifest in (before, now))
        values.append((name, was, is_now))
    changes = [f"{name} was {was!r}, is {is_now!r}" for name, was, is_now in values if was != is_now]
    if changed_files and before.flow_fingerprint != now.flow_fingerprint:
        changes[0] = f"{changes[0]} ({changed_files})"
    if before.lines != now.lines and max(before.repeats, now.repeats) > 1:
        changes.append(f"it had {before.lines} lines to repeat, now {now.lines}")
    names = sorted({*before.environment, *now.environment})
    other = [name for name in names if before.environment.get(name) != now.environment.get(name)]
    changes += [f"the environment variable {name} is another than it was" for name in other]
    for name, use in connections.items():
        changes += use.changes_since(before.connections[name]) if name in before.connections else []
    if changes:
        raise ResumeMismatchError(
            f"run {now.name} was made by something else: {'; '.join(changes)}. "
            "Give it another --name, or --fresh to start it over"
        )


def _clear(path: Path) -> None:
    """Empty a run's folder, of the manifest last: what is left by a kill is still a run."""
    for child in sorted(path.iterdir(), key=lambda child: child.name == "manifest.json"):
        if child.name == ".lock":
            continue
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        else:
            child.unlink()
