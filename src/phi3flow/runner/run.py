"""A run, from the first worker's start to the folder that ``pf`` can open too."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from phi3flow.connections.known import KnownConnections
from phi3flow.errors import ConfigError, Interrupted
from phi3flow.flows import SINGLE_ATTEMPTS, ConnectionSource, Flow
from phi3flow.flows.definition import files_now
from phi3flow.pacing.calls import endpoint_pacer
from phi3flow.pacing.limits import Limits
from phi3flow.pacing.pacer import Pacer
from phi3flow.records.comparisons import StoppedEarly
from phi3flow.records.connections import ConnectionUse
from phi3flow.records.images import data_folder
from phi3flow.records.runs import AggregationRecord, Manifest, RunStatus
from phi3flow.runner.aggregation import aggregate, has_aggregation_node
from phi3flow.runner.batch import Batch
from phi3flow.runner.cache import AnswerCache
from phi3flow.runner.conversations import AnyOrder, ChatNames, LineSource, OwnHistory
from phi3flow.runner.data_lines import DataLine, DataLines
from phi3flow.runner.interrupts import Interrupts
from phi3flow.runner.plan import PlannedRun, RunPlan
from phi3flow.runner.progress import RunProgress
from phi3flow.runs.folder import RunFolder
from phi3flow.runs.promptflow_record import write_pf_record
from phi3flow.runs.writer import RunWriter
from phi3flow.text import plural
from phi3flow.workers.crew import Crew
from phi3flow.workers.local_process import start_process
from phi3flow.workers.messages import Begin
from phi3flow.workers.process import StartProcess

if TYPE_CHECKING:
    from phi3flow.runner.early_stop import EarlyStop

ProcessSource = Callable[[Flow, int], AbstractContextManager[StartProcess]]
"""Gives what starts a number of processes for a flow, for as long as a run lasts."""

_AZURE_ML_HOST = ".inference.ml.azure.com"
_AZURE_ML_REQUESTS_PER_S = 500.0


@contextlib.contextmanager
def local_processes(flow: Flow, workers: int) -> Iterator[StartProcess]:
    """Give what starts processes on this machine."""
    yield start_process


def run_flow(
    plan: RunPlan,
    *,
    connections: ConnectionSource,
    processes: ProcessSource = local_processes,
    fresh: bool = False,
    on_start: Callable[[Manifest], None] = lambda _: None,
    on_progress: Callable[[RunProgress], None] = lambda _: None,
) -> RunFolder:
    """Run a flow over every line of a file and return the run's folder.

    A run of the same name goes on where it was left: completed lines are skipped, failed ones tried again; ``fresh``
    starts over. ``processes`` says where the flow is executed. ``on_start`` gets the manifest before the first line,
    ``on_progress`` where the run stands, several times a second. After the first SIGINT, SIGTERM or SIGHUP the lines in
    flight are given 10 s; the run then is Canceled and Interrupted raised. A run that stops for too many failures is
    Failed.

    Raises DatasetError for a data line that does not parse, ColumnMappingError, ResumeMismatchError, FlowError,
    StorageError where the disk is full, EndpointError where the endpoint stays down.
    """
    return asyncio.run(_run(plan, connections, processes, fresh, on_start, on_progress))


async def _run(
    plan: RunPlan,
    connections: ConnectionSource,
    processes: ProcessSource,
    fresh: bool,
    on_start: Callable[[Manifest], None],
    on_progress: Callable[[RunProgress], None],
) -> RunFolder:
    environment, known = {**plan.environment, **SINGLE_ATTEMPTS}, KnownConnections(connections)
    async with contextlib.AsyncExitStack() as stack:
        start = stack.enter_context(processes(plan.flow, plan.options.workers))
        crew = await stack.enter_async_context(Crew(start, plan.flow, environment, known))
        await crew.start(plan.options.workers)  # they load the flow, which takes a second, while the data is read
        scorers = None
        if plan.stop_rule:
            evaluation = plan.stop_rule.flow
            scorers = await stack.enter_async_context(Crew(start_process, evaluation, SINGLE_ATTEMPTS, connections))
            await scorers.start(1)
        planned = await asyncio.to_thread(plan.read)
        early = _early_stop(plan, planned.lines, scorers, fresh=fresh) if scorers else None
        uses = {} if fresh else await asyncio.to_thread(known.uses, _connections_before(plan))
        with RunWriter.open(
            plan.runs_dir, planned.manifest, flow_files=plan.flow.files, connections=uses, fresh=fresh
        ) as writer:
            on_start(writer.manifest)
            before = writer.manifest.stopped_early
            is_over = early.is_decided_by(before) if early else writer.counts.completed >= planned.to_run
            if is_over:
                if plan.flow.is_flex:
                    await crew.opened()  # only a class that is loaded tells whether it aggregates
                writer.finish("Completed", duration_s=0.0, prices=plan.options.prices, stopped_early=before)
            else:
                await _finish(plan, planned, writer, crew, known, early, on_progress)
            run = RunFolder(writer.path)
            if writer.manifest.status == "Completed" and _has_aggregation(plan, crew):
                await _aggregate(plan, run, writer, connections)
            if not plan.flow.is_flex:  # pf cannot open a flex flow's record
                write_pf_record(run, plan.flow)
    return run


def _connections_before(plan: RunPlan) -> dict[str, ConnectionUse]:
    """Return the connections that the run had when it was left, none of one that is new, or that cannot go on."""
    try:
        return RunFolder(plan.runs_dir / plan.name).manifest.connections
    except ConfigError:
        return {}


def _has_aggregation(plan: RunPlan, crew: Crew) -> bool:
    return crew.has_aggregation if plan.flow.is_flex else has_aggregation_node(plan.flow)


async def _aggregate(plan: RunPlan, run: RunFolder, writer: RunWriter, connections: ConnectionSource) -> None:
    """Execute the flow's aggregation over the completed lines, unless that was done over the same."""
    before = writer.manifest.aggregation
    if before and before.error is None and before.lines == writer.counts.completed:
        return
    aggregated = await asyncio.to_thread(
        aggregate, run, plan.flow, connections=connections, environment=plan.environment
    )
    writer.append_beside(aggregated.beside)
    writer.end_aggregation(aggregated.metrics, AggregationRecord(lines=aggregated.lines, error=aggregated.error))


def _early_stop(plan: RunPlan, lines: DataLines, scorers: Crew, *, fresh: bool) -> EarlyStop:
    """Return what ends the run. Raises ConfigError where it cannot be tested, or is tested by another rule."""
    from phi3flow.runner.early_stop import EarlyStop  # it imports SciPy

    assert plan.stop_rule is not None
    path = plan.runs_dir / plan.name
    before = None
    if (path / "manifest.json").is_file():
        plan.stop_rule.refuse_same_run(path)
        before = None if fresh else RunFolder(path).manifest.stopped_early
    early = EarlyStop(plan.stop_rule, lines, scorers, before=before)
    if not plan.flow.is_flex:
        early.refuse_other_outputs(plan.flow.definition.get("outputs") or {})
    return early


async def _finish(
    plan: RunPlan,
    planned: PlannedRun,
    writer: RunWriter,
    crew: Crew,
    known: KnownConnections,
    early: EarlyStop | None,
    on_progress: Callable[[RunProgress], None],
) -> None:
    started, undecided, interrupts = time.monotonic(), _undecided(writer.manifest), Interrupts()
    status: RunStatus = "Failed"
    try:
        with interrupts.caught():
            status = await _run_lines(plan, planned, writer, crew, known, early, interrupts, on_progress)
    except (KeyboardInterrupt, asyncio.CancelledError):  # before they were caught, or a second one
        status = "Canceled"
        raise
    finally:
        writer.note_flow_changes(plan.flow.files, files_now(plan.flow))
        writer.finish(
            status,
            duration_s=time.monotonic() - started,
            prices=plan.options.prices,
            stopped_early=(early and early.outcome) or undecided,
        )
    if status == "Canceled":
        counts = writer.counts
        done = f"{counts.completed:,} of {plural(counts.total, 'line')} are done"
        raise Interrupted(f"interrupted: {done}; the same command goes on", interrupts.number or signal.SIGINT)


def _undecided(manifest: Manifest) -> StoppedEarly | None:
    """Return the test of a run that has no verdict: unlike one that has, it goes on only with its test."""
    before = manifest.stopped_early
    return before if before and before.verdict == "undecided" else None


async def _run_lines(
    plan: RunPlan,
    planned: PlannedRun,
    writer: RunWriter,
    crew: Crew,
    known: KnownConnections,
    early: EarlyStop | None,
    interrupts: Interrupts,
    on_progress: Callable[[RunProgress], None],
) -> RunStatus:
    uses = await asyncio.to_thread(known.uses, await crew.opened())
    options = plan.options
    folder = data_folder(plan.data.resolve())
    tokenizer = options.tokenizer and options.tokenizer.resolve()  # a worker's folder is the flow's
    timeout_s = options.limits.timeout_s
    crew.begin(Begin(planned.mapping, timeout_s, tokenizer, folder, writer.path, trace=options.trace))
    writer.use_connections(uses)
    async with contextlib.AsyncExitStack() as stack:
        batch = Batch(
            _source(plan, planned, writer, _lines(early, planned)),
            writer,
            crew,
            plan.options,
            _pacer(plan.options.limits, uses),
            cache=stack.enter_context(_cache(plan, planned, known)),
            on_progress=on_progress,
            on_kept=[early.keep] if early else (),
        )
        scoring = await stack.enter_async_context(_scoring(early, batch, writer)) if early else None
        interrupts.on_first = lambda: _cancel(batch, scoring)
        if interrupts.number is not None:
            interrupts.on_first()
        await batch.run()
        if early and scoring and not batch.stopped_as:
            await _score_rest(early, scoring)
    return batch.stopped_as or "Completed"


def _cache(plan: RunPlan, planned: PlannedRun, known: KnownConnections) -> AbstractContextManager[AnswerCache | None]:
    if plan.cache is None:
        return contextlib.nullcontext()
    return AnswerCache(plan.cache, plan.flow, planned.mapping, known.made_of(), environment=plan.environment)


def _source(plan: RunPlan, planned: PlannedRun, writer: RunWriter, order: Iterable[DataLine]) -> LineSource:
    if plan.history == "given":
        return AnyOrder(line for line in order if not writer.is_completed(line.number))
    names, results = ChatNames.of(plan.flow), RunFolder(writer.path).results()
    return OwnHistory(planned.lines, order, names=names, mapping=planned.mapping, results=results)


def _lines(early: EarlyStop | None, planned: PlannedRun) -> Iterable[DataLine]:
    return itertools.islice(early.lines, planned.to_run) if early else planned.lines


@contextlib.asynccontextmanager
async def _scoring(early: EarlyStop, batch: Batch, writer: RunWriter) -> AsyncIterator[asyncio.Task[None]]:
    """Score what the run answered before and answers now, and stop it once that decides."""
    early.on_decided = lambda: batch.stop("Completed")
    await early.begin(writer.path)  # lines that were answered before it can score would be answered for nothing
    for result in RunFolder(writer.path).results():
        if result.status == "Completed":
            early.keep(result.line_number, result.model_dump_json().encode())
    scoring = asyncio.create_task(early.score())
    scoring.add_done_callback(lambda task: batch.fail(error) if (error := _error_of(task)) else None)
    try:
        yield scoring
    finally:
        scoring.cancel()
        await asyncio.gather(scoring, return_exceptions=True)
        early.close()


async def _score_rest(early: EarlyStop, scoring: asyncio.Task[None]) -> None:
    """Score the last answers, and take what is shown then for the outcome. Raises what scoring raised."""
    early.end()
    await asyncio.wait([scoring])
    if not scoring.cancelled():
        scoring.result()
        early.conclude()


def _cancel(batch: Batch, scoring: asyncio.Task[None] | None) -> None:
    batch.stop("Canceled")
    if scoring:
        scoring.cancel()


def _error_of(task: asyncio.Task[None]) -> Exception | None:
    error = None if task.cancelled() else task.exception()
    return error if isinstance(error, Exception) else None


def _pacer(limits: Limits, uses: dict[str, ConnectionUse]) -> Pacer:
    """Return the run's pacer; where it finds its own speed, it keeps an Azure ML endpoint's known limit."""
    hosts = [use.host or "" for use in uses.values()]
    in_azure = any(host.partition(":")[0].endswith(_AZURE_ML_HOST) for host in hosts)
    return endpoint_pacer(
        limits, most_per_s=_AZURE_ML_REQUESTS_PER_S if in_azure and limits.concurrency is None else None
    )
