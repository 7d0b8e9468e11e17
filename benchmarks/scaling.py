"""How a batch run grows with its lines: time of check, run and record, memory, disk; and a straight line to 10 million.

The flow echoes its input, so that no endpoint is waited for: what is measured is the harness alone, at the most that
it can do. Each run is a process of its own: memory is that process's peak resident set after the check and at the end
(the runner; the workers, whose memory does not grow, are apart), disk what the run folder holds, run the time between
the first and the last line. The last row follows the straight line through the two longest runs. With --engine none
no flow is executed: every line is checked, its result appended and recorded for pf, which is quick enough for millions.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --engine none --lines 100000 1000000
    python benchmarks/scaling.py --engine ray --workers 2 --lines 1000 10000
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from phi3flow.records.runs import Manifest
    from phi3flow.runner import RunPlan, RunProgress
    from phi3flow.runs.folder import RunFolder

FAR = 10_000_000
CODE = """
from promptflow.core import tool

@tool
async def ask(question: str) -> str:
    return question.upper()
"""
DAG = """
inputs: {question: {type: string}}
outputs: {answer: {type: string, reference: "${ask.output}"}}
nodes:
- {name: ask, type: python, source: {type: code, path: ask.py}, inputs: {question: "${inputs.question}"}}
"""


@dataclass(frozen=True)
class Run:
    """What one run took; sizes in MB."""

    lines: int
    check_s: float
    run_s: float
    record_s: float
    memory_checked: float
    memory: float
    workers_memory: float
    data: float
    results: float
    folder: float


def measure(engine: str, workers: int, lines: int) -> Run:
    """Make a run in this process, which should do nothing else."""
    from phi3flow.flows import load_flow
    from phi3flow.pacing.limits import Limits
    from phi3flow.runner import RunOptions, RunPlan

    with tempfile.TemporaryDirectory(prefix="scaling-") as temporary:
        folder = Path(temporary)
        data = _write_data(folder / "lines.jsonl", lines)
        options = RunOptions(limits=Limits(concurrency=64), workers=workers)
        plan = RunPlan(load_flow(_write_flow(folder / "flow")), data, folder / "runs", name="run", options=options)
        checked: list[tuple[float, float]] = []
        started = time.monotonic()
        execute = _append if engine == "none" else partial(_execute, engine)
        run = execute(plan, lambda: checked.append((time.monotonic(), _memory())))
        ended = time.monotonic()
        (checked_at, memory_checked), manifest = checked[0], run.manifest
        assert manifest.counts.completed == lines
        size = sum(file.stat().st_size for file in run.path.rglob("*") if file.is_file())
        return Run(
            lines=lines,
            check_s=checked_at - started,
            run_s=manifest.duration_s,
            record_s=ended - checked_at - manifest.duration_s,
            memory_checked=memory_checked,
            memory=_memory(),
            workers_memory=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6,
            data=data.stat().st_size / 1e6,
            results=(run.path / "results.jsonl").stat().st_size / 1e6,
            folder=size / 1e6,
        )


class _Display:
    """Shows nothing, and tells when the data is checked."""

    def __init__(self, on_checked: Callable[[], None]) -> None:
        self._on_checked = on_checked

    @contextmanager
    def lines(self) -> Iterator[_Display]:
        yield self

    def start(self, manifest: Manifest) -> None:
        self._on_checked()

    def update(self, progress: RunProgress) -> None:
        pass


def _execute(engine: str, plan: RunPlan, on_checked: Callable[[], None]) -> RunFolder:
    from phi3flow.engines.table import pick_engine

    (run,) = pick_engine(engine).run([plan], fresh=False, display=_Display(on_checked))
    return run


def _append(plan: RunPlan, on_checked: Callable[[], None]) -> RunFolder:
    """Do what the runner does with its files, and execute nothing."""
    from phi3flow.records.lines import LineResult
    from phi3flow.runs.folder import RunFolder
    from phi3flow.runs.promptflow_record import write_pf_record
    from phi3flow.runs.writer import RunWriter
    from phi3flow.storage.jsonl import line_id, parse_row

    planned = plan.read()
    with RunWriter.open(plan.runs_dir, planned.manifest) as writer:
        on_checked()
        started = time.monotonic()
        for line in planned.lines:
            row = parse_row(line.row)
            result = LineResult(
                line_number=line.number,
                line_id=line.line_id or line_id(row),
                status="Completed",
                inputs=row,
                outputs={"answer": row["question"].upper()},
                attempts=1,
                latency_ms=1.5,
            )
            writer.append(line.number, result.model_dump_json().encode(), completed=True, attempts=1)
        writer.finish("Completed", duration_s=time.monotonic() - started)
        write_pf_record(RunFolder(writer.path), plan.flow)
    return RunFolder(writer.path)


def extrapolate(runs: list[Run], lines: int) -> Run:
    """Return the run that the straight line through the two longest ones comes to."""
    first, second = sorted(runs, key=lambda run: run.lines)[-2:]
    share = (lines - second.lines) / (second.lines - first.lines)
    values = {
        field.name: getattr(second, field.name) + share * (getattr(second, field.name) - getattr(first, field.name))
        for field in fields(Run)
    }
    return Run(**{**values, "lines": lines, "workers_memory": second.workers_memory})


def main() -> None:
    """Measure each number of lines in a process, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, nargs="+", default=[1000, 10_000, 100_000], metavar="N")
    parser.add_argument("--engine", choices=["local", "ray", "none"], default="local")
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument("--here", action="store_true", help="measure the first number in this process, print JSON")
    args = parser.parse_args()
    if args.here:
        print(json.dumps(asdict(measure(args.engine, args.workers, args.lines[0]))))
        return
    runs = []
    for lines in args.lines:
        command = [sys.executable, __file__, "--here", "--engine", args.engine, "--workers", str(args.workers)]
        measured = subprocess.run([*command, "--lines", str(lines)], stdout=subprocess.PIPE, check=True, text=True)
        runs.append(Run(**json.loads(measured.stdout)))
        print(f"{lines:,} lines measured", file=sys.stderr, flush=True)
    print(_table([*runs, extrapolate(runs, FAR)] if len(runs) > 1 else runs))


def _table(runs: list[Run]) -> str:
    rows = [
        "| lines | check s | run s | record s | runner after check, MB | runner at the end, MB | a worker, MB "
        "| data, MB | results.jsonl, MB | run folder, MB |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for run in runs:
        values = [f"{value:,.1f}" if value < 100 else f"{value:,.0f}" for value in list(asdict(run).values())[1:]]
        rows.append(f"| {run.lines:,} | {' | '.join(values)} |")
    return "\n".join(rows)


def _write_data(path: Path, lines: int) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for number in range(lines):
            row = {"question": f"What does article {number} of the catalogue cost, and when does it ship?"}
            file.write(json.dumps(row) + "\n")
    return path


def _write_flow(folder: Path) -> Path:
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(DAG, encoding="utf-8")
    (folder / "ask.py").write_text(CODE, encoding="utf-8")
    return folder


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


if __name__ == "__main__":
    main()
