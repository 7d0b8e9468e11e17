"""A run whose lines are executed by a place in the cloud: submitted once, found again, imported as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from phi3flow.azure.workspace.jobs import OnJobProgress
from phi3flow.engines.cloud.imported_lines import import_lines
from phi3flow.engines.cloud.place import FlowWork, LineAnswer, Place
from phi3flow.engines.cloud.sent_lines import SentLines
from phi3flow.errors import BackendError, ConfigError, Phi3flowError
from phi3flow.flows import connection_names
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.runs import Manifest, RunStatus
from phi3flow.runner.plan import PlannedRun, RunPlan
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.promptflow_record import write_pf_record
from phi3flow.runs.writer import RunWriter
from phi3flow.temporary import temporary_folder

_AGAIN = frozenset({"Failed", "Canceled"})


class CloudRun:
    """A plan that ``place`` carries out, which is ``engine`` to the user; as a context manager it holds the run's lock.

    Its work is named after everything that decides the result, so that the same command finds it again, on any
    machine, and follows it. Work that failed, and lines that did, are tried again under the name's next number.
    """

    def __init__(self, plan: RunPlan, place: Place, *, engine: str, fresh: bool) -> None:
        if plan.flow.is_flex:
            raise ConfigError(f"--engine {engine}: {plan.flow.name} is a flex flow; only DAG flows run there")
        self._plan, self._place, self._engine, self._fresh = plan, place, engine, fresh
        self._held = contextlib.ExitStack()
        self._work: str | None = None
        self._writer: RunWriter | None = None

    def __enter__(self) -> CloudRun:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def begin(self, confirm: Callable[[str], bool]) -> bool:
        """Find the run's work, or submit it if ``confirm`` agrees to what it costs; return whether there is work.

        Raises what ``run_flow`` raises for the data, ConfigError for a connection that the place lacks, BackendError.
        """
        self._planned = self._plan.read()
        earlier = self._earlier()
        self._jobs = list(earlier.parameters.jobs or ()) if earlier else []
        completed: RunStatus | None = "Completed" if earlier and earlier.status == "Completed" else None
        try:
            begun = self._begin(confirm)
        except Phi3flowError:
            self._leave(completed or "Failed")
            raise
        if not begun:
            self._leave(completed or "Canceled")
        return begun

    def _begin(self, confirm: Callable[[str], bool]) -> bool:
        if not self._fresh:
            self._open()
        folder = self._held.enter_context(temporary_folder())
        is_completed = self._writer.is_completed if self._writer else lambda _: False
        self._sent = SentLines.write(folder / "lines.jsonl", self._planned, self._plan.flow, is_completed)
        if not self._sent.numbers:
            self._open()
            return True
        self._work, status = self._attempt(self._name())
        if status is None:
            return self._submit(self._work, confirm)
        if not self._open().manifest.connections:
            with contextlib.suppress(ConfigError):  # made elsewhere, and since then the connection may be gone
                self._open().use_connections(self._connections())
        return True

    def complete(self, on_progress: OnJobProgress) -> RunFolder:
        """Follow the work to its end, import what it answered, and return the run.

        A KeyboardInterrupt leaves the work running. Raises BackendError where it failed or answered nonsense.
        """
        duration_s, writer = 0.0, self._open()
        try:
            answers: Iterator[LineAnswer] = iter(())
            if self._work:
                duration_s = self._place.follow(self._work, on_progress)
                answers = self._place.answers(self._work)
            work = f"the {self._engine} job {self._work}"
            results = import_lines(self._planned, self._plan.flow, self._sent, answers, work=work)
            writer.append_all(results)
        except BackendError:
            writer.finish("Failed", duration_s=duration_s)
            raise
        writer.use_jobs([*self._jobs, *([self._work] if self._work else [])])
        writer.finish("Completed", duration_s=duration_s)
        run = RunFolder(self._path)
        write_pf_record(run, self._plan.flow)
        return run

    @property
    def _path(self) -> Path:
        return self._plan.runs_dir.resolve() / self._plan.name

    def _earlier(self) -> Manifest | None:
        """Return the manifest of the run where it goes on."""
        exists = (self._path / "manifest.json").is_file()
        return RunFolder(self._path).manifest if exists and not self._fresh else None

    def _open(self) -> RunWriter:
        """Return the run's writer; it is opened once, where the run starts over only when that is certain."""
        if self._writer is None:
            manifest = _manifest(self._planned, self._engine, self._jobs)
            files = self._plan.flow.files
            opened = RunWriter.open(self._plan.runs_dir, manifest, flow_files=files, fresh=self._fresh)
            self._writer = self._held.enter_context(opened)
        return self._writer

    def _leave(self, status: RunStatus) -> None:
        if self._writer:
            self._writer.finish(status, duration_s=0.0)

    def _submit(self, name: str, confirm: Callable[[str], bool]) -> bool:
        work, uses = self._describe_work(), self._connections()
        self._place.check(work)
        if not confirm(self._place.cost(work)):
            return False
        self._open().use_connections(uses)
        self._place.submit(name, work)
        return True

    def _connections(self) -> dict[str, ConnectionUse]:
        return self._place.connections(connection_names(self._plan.flow))

    def _describe_work(self) -> FlowWork:
        options, count = self._plan.options, len(self._sent.numbers)
        percent = options.max_failures_percent
        return FlowWork(
            flow=self._plan.flow,
            lines=self._sent.path,
            count=count,
            mapping=self._sent.mapping,
            environment=self._plan.environment,
            nodes=options.workers,
            concurrency=options.limits.concurrency,
            timeout_s=options.limits.timeout_s,
            max_retries=options.limits.max_retries,
            max_failed=None if percent is None else int(count * percent / 100),
            apart=bool(self._jobs),
            tags={"run": self._plan.name, "flow_fingerprint": self._plan.flow.fingerprint},
        )

    def _name(self) -> str:
        """Name the work after the run and everything that decides its result."""
        plan = self._plan
        decided_by = {
            "engine": self._engine,
            "run": plan.name,
            "flow": plan.flow.fingerprint,
            "variant": plan.flow.variant,
            "connections": plan.flow.overrides,
            "environment": dict(plan.environment),
            "lines": self._sent.sha256,
            "mapping": self._sent.mapping,
        }
        digest = hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()
        slug = re.sub(r"[^A-Za-z0-9]+", "-", plan.name).strip("-")[:60] or "run"
        return f"{slug}-{digest[:8]}"

    def _attempt(self, name: str) -> tuple[str, str | None]:
        """Return the last attempt of a name and its status, or the next, which has none, where that is of no use."""
        last, number, tried = None, 1, name
        while (status := self._place.status(tried)) is not None:
            last = tried, status
            number += 1
            tried = f"{name}-{number}"
        if last is None or self._fresh or last[1] in _AGAIN or last[0] in self._jobs:
            return tried, None
        return last


def _manifest(planned: PlannedRun, engine: str, jobs: list[str]) -> Manifest:
    """Return the manifest of a run that is executed elsewhere: by versions of promptflow that are not known here."""
    manifest = planned.manifest
    parameters = manifest.parameters.model_copy(update={"engine": engine, "jobs": tuple(jobs)})
    versions = {"phi3flow": manifest.versions["phi3flow"]}
    return manifest.model_copy(update={"parameters": parameters, "versions": versions})
