"""The batch runner: every line of a file through a flow, at most N at once, nothing lost.

The flow itself is executed by promptflow's FlowExecutor (``phi3flow.flows``); what is ours is which lines run when,
how often a line is tried, and that every outcome is on disk before the next line takes its place.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from phi3flow import __version__
from phi3flow.errors import ConfigError, DatasetError
from phi3flow.failures import Failure, describe_failure
from phi3flow.flows import ConnectionSource, Flow, FlowSession, open_flow
from phi3flow.jsonl import Row, file_sha256, read_rows, with_line_ids
from phi3flow.pf_record import write_pf_record
from phi3flow.records import ConnectionUse, Counts, LineResult, Manifest, RunStatus, Usage
from phi3flow.run_config import complete_mapping, map_line
from phi3flow.run_store import RunFolder, RunWriter

_FIRST_BACKOFF_S = 0.5
_LONGEST_BACKOFF_S = 30.0
_DRAIN_S = 10.0
_SHORTEST_SECRET = 6


@dataclass(frozen=True)
class RunOptions:
    """How a run is driven: lines in flight, seconds an attempt may take, retries a line may have."""

    concurrency: int = 32
    timeout_s: float = 180.0
    max_retries: int = 5


@dataclass(frozen=True)
class _Line:
    number: int
    line_id: str
    row: Row


def default_run_name(flow: Flow, overrides: Mapping[str, str]) -> str:
    """Name a run after flow, variant, replaced connections and fingerprint: the same command finds it again."""
    variant = flow.variant.strip("${}").split(".", 1)[1] if flow.variant else None
    parts = [flow.name, variant, *overrides.values(), flow.fingerprint[:8]]
    return "-".join(part for part in parts if part)


def run_flow(
    flow: Flow,
    *,
    data: Path,
    column_mapping: Mapping[str, Any],
    connections: ConnectionSource,
    runs_dir: Path,
    name: str | None = None,
    overrides: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    options: RunOptions | None = None,
    limit: int | None = None,
    fresh: bool = False,
    on_start: Callable[[Manifest], None] = lambda _: None,
    on_line: Callable[[LineResult], None] = lambda _: None,
) -> RunFolder:
    """Run ``flow`` over the JSON Lines file ``data`` and return the run's folder.

    A run of the same name goes on where it was left: completed lines are skipped, failed ones tried again.
    ``overrides`` replaces connections (``{"node.input": name}``); ``on_start`` gets the manifest before the first
    line, ``on_line`` each result once it is on disk. After the first SIGINT the lines in flight are given 10 s;
    the run then is Canceled and KeyboardInterrupt raised.

    Raises DatasetError for a data line that does not parse, ColumnMappingError, ResumeMismatchError, FlowError.
    """
    options, overrides = options or RunOptions(), dict(overrides or {})
    flow = flow.with_connections(overrides)
    lines = read_lines(data, limit=limit)
    mapping = complete_mapping(
        column_mapping,
        inputs={key: value.has_default or value.is_chat_history for key, value in flow.inputs.items()},
        columns={"data": _columns(lines)},
        where=str(flow.folder),
    )
    manifest = _first_manifest(
        flow,
        name=name or default_run_name(flow, overrides),
        data=data,
        mapping=mapping,
        overrides=overrides,
        options=options,
        total=len(lines),
    )
    with RunWriter.open(runs_dir, manifest, fresh=fresh) as writer:
        todo = [line for line in lines if line.number not in writer.completed]
        on_start(writer.manifest)
        if todo:
            batch = _Batch(writer, options, mapping, flow, on_line)
            batch.run(todo, connections, environment or {})
        run = RunFolder(writer.path)
        write_pf_record(run, flow)
    return run


def _first_manifest(
    flow: Flow,
    *,
    name: str,
    data: Path,
    mapping: Mapping[str, Any],
    overrides: Mapping[str, str],
    options: RunOptions,
    total: int,
) -> Manifest:
    return Manifest(
        name=name,
        status="Running",
        flow=str(flow.folder),
        flow_fingerprint=flow.fingerprint,
        data=str(data.resolve()),
        data_sha256=file_sha256(data),
        column_mapping={key: str(value) for key, value in mapping.items()},
        variant=flow.variant,
        parameters={
            "timeout_s": options.timeout_s,
            "max_retries": options.max_retries,
            "connections": dict(overrides),
        },
        concurrency=options.concurrency,
        counts=Counts(total=total),
        started_at=datetime.now(UTC),
        versions=_versions(),
        git_commit=_git_commit(flow.folder),
    )


def read_lines(data: Path, *, limit: int | None = None) -> list[_Line]:
    """Read and name the lines to run, all of them before anything is sent. Raises DatasetError with file:line."""
    rows = (row for _, row in read_rows(data))
    lines = [_Line(number, line_id, row) for number, (line_id, row) in enumerate(with_line_ids(rows))]
    if not lines:
        raise DatasetError(f"{data}: has no lines")
    return lines[:limit]


class _Batch:
    """One opening of a run: workers that take lines from one iterator and append what becomes of them."""

    def __init__(
        self,
        writer: RunWriter,
        options: RunOptions,
        mapping: Mapping[str, Any],
        flow: Flow,
        on_line: Callable[[LineResult], None],
    ) -> None:
        self._writer = writer
        self._options = options
        self._mapping = mapping
        self._optional = [name for name, value in flow.inputs.items() if value.has_default or value.is_chat_history]
        self._flow = flow
        self._on_line = on_line
        self._secrets: list[bytes] = []
        self._stopping = asyncio.Event()

    def run(self, lines: list[_Line], connections: ConnectionSource, environment: Mapping[str, str]) -> None:
        started = time.monotonic()
        status: RunStatus = "Failed"
        environment = {**environment, "PHI3_MAX_RETRIES": "0"}
        try:
            with open_flow(self._flow, connections=connections, environment=environment) as session:
                self._note_connections(session)
                asyncio.run(self._run_lines(session, iter(lines)))
            status = "Canceled" if self._stopping.is_set() else "Completed"
        except KeyboardInterrupt:
            status = "Canceled"
        finally:
            self._writer.finish(status, duration_s=time.monotonic() - started)
        if status == "Canceled":
            raise KeyboardInterrupt

    def _note_connections(self, session: FlowSession) -> None:
        uses = {}
        for name, connection in session.used_connections.items():
            secret_keys = connection.get("secret_keys") or ["api_key"]
            values = {key: str(value) for key, value in connection["value"].items()}
            self._secrets += [
                _json_text(values[key]) for key in secret_keys if len(values.get(key, "")) >= _SHORTEST_SECRET
            ]
            url = next((v for k, v in values.items() if k not in secret_keys and v.startswith("http")), "")
            uses[name] = ConnectionUse(name=name, host=urlsplit(url).netloc.rpartition("@")[2] or None)
        self._writer.use_connections(uses)

    async def _run_lines(self, session: FlowSession, lines: Iterator[_Line]) -> None:
        workers = [asyncio.create_task(self._work(session, lines)) for _ in range(self._options.concurrency)]
        drain = asyncio.create_task(self._cancel_after_drain(workers))
        with _first_interrupt(self._stopping):
            try:
                await asyncio.gather(*workers)
            except asyncio.CancelledError:
                if not self._stopping.is_set():
                    raise
            finally:
                for task in (drain, *workers):
                    task.cancel()
                await asyncio.gather(drain, *workers, return_exceptions=True)

    async def _cancel_after_drain(self, workers: list[asyncio.Task[None]]) -> None:
        await self._stopping.wait()
        await asyncio.sleep(_DRAIN_S)
        for worker in workers:
            worker.cancel()

    async def _work(self, session: FlowSession, lines: Iterator[_Line]) -> None:
        for line in lines:
            if self._stopping.is_set():
                return
            result = await self._run_line(session, line)
            if result is None:
                return
            content = result.model_dump_json().encode()
            for secret in self._secrets:
                content = content.replace(secret, b"***")
            self._writer.append(
                line.number, content, completed=result.status == "Completed", retries=result.attempts - 1
            )
            self._on_line(result)

    async def _run_line(self, session: FlowSession, line: _Line) -> LineResult | None:
        """Try a line until it completes, fails for good, or the run stops (None: it stays to be done)."""
        try:
            inputs = map_line(self._mapping, {"data": line.row}, optional=self._optional)
        except ConfigError as error:
            return self._failed(line, line.row, describe_failure(error), attempts=1, latency_ms=0.0)
        attempts = 0
        while True:
            attempts += 1
            started = time.perf_counter()
            try:
                async with asyncio.timeout(self._options.timeout_s):
                    done = await session.exec_line(inputs, line_number=line.number)
            except Exception as error:
                failure = describe_failure(error)
                latency_ms = _milliseconds_since(started)
                if not failure.retryable or attempts > self._options.max_retries:
                    return self._failed(line, inputs, failure, attempts=attempts, latency_ms=latency_ms)
                if await self._stopped_within(_backoff_s(failure, attempts)):
                    return None
            else:
                return LineResult(
                    line_number=line.number,
                    line_id=line.line_id,
                    status="Completed",
                    inputs=inputs,
                    outputs=_jsonable(done.outputs),
                    attempts=attempts,
                    latency_ms=_milliseconds_since(started),
                    usage=_usage(done.outputs),
                )

    def _failed(
        self, line: _Line, inputs: Mapping[str, Any], failure: Failure, *, attempts: int, latency_ms: float
    ) -> LineResult:
        return LineResult(
            line_number=line.number,
            line_id=line.line_id,
            status="Failed",
            inputs=dict(inputs),
            error=failure.error,
            attempts=attempts,
            latency_ms=latency_ms,
        )

    async def _stopped_within(self, delay_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        return self._stopping.is_set()


def _backoff_s(failure: Failure, attempts: int) -> float:
    """The server's Retry-After, else exponential backoff with full jitter (Brooker, AWS Architecture Blog, 2015)."""
    if failure.retry_after_s is not None:
        return failure.retry_after_s
    return random.uniform(0.0, min(_LONGEST_BACKOFF_S, _FIRST_BACKOFF_S * 2.0 ** (attempts - 1)))


@contextlib.contextmanager
def _first_interrupt(stopping: asyncio.Event) -> Iterator[None]:
    """Let the first SIGINT drain the run; the second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGINT)

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        loop.call_soon_threadsafe(stopping.set)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _columns(lines: list[_Line]) -> list[str]:
    return list(dict.fromkeys(key for line in lines for key in line.row))


def _usage(outputs: Mapping[str, Any]) -> Usage | None:
    usage = outputs.get("usage")
    if not isinstance(usage, Mapping):
        return None
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return Usage(prompt_tokens=prompt, completion_tokens=completion)


def _jsonable(outputs: dict[str, Any]) -> dict[str, Any]:
    """Turn outputs that JSON does not know into text; NaN and infinity too, which no JSON reader accepts."""
    try:
        json.dumps(outputs, allow_nan=False)
        return outputs
    except (TypeError, ValueError):
        return json.loads(json.dumps(outputs, default=str), parse_constant=str)  # type: ignore[no-any-return]


def _json_text(value: str) -> bytes:
    return json.dumps(value, ensure_ascii=False)[1:-1].encode()


def _milliseconds_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 3)


def _versions() -> dict[str, str]:
    names = ("promptflow-core", "promptflow-tools")
    found = {"phi3flow": __version__}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _git_commit(folder: Path) -> str | None:
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
