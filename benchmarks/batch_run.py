"""``phi3flow batch-run`` beside other tools that ask an endpoint many questions, in one run on the same machine.

Each tool asks the same questions of the same endpoint (benchmarks/endpoint.py: a fixed delay, 127.0.0.1) by its own
ordinary means, with --in-flight requests at once where it lets one say so; `pf run create` has its default and 16
workers. phi3flow and pf run flows/chat_phi3; a bare aiohttp loop is the floor. Measured is the whole command: wall
time, CPU time and peak memory of all its processes (see benchmarks/process_tree.py), and, as the endpoint saw it, the
request phase (first request to last answer), the requests and how many were in flight at most. The endpoint shares the
machine, and takes its part of the processor in every tool's measurement. With more than 1,000 lines, phi3flow runs
1,000 too, to compare its memory. A peer that cannot be set up is listed with the reason.

    python benchmarks/batch_run.py --repeat 2
    python benchmarks/batch_run.py --lines 100000 --delay-ms 5 --only phi3flow
    python benchmarks/batch_run.py --lines 20000 --delay-ms 20 --in-flight 256 --workers 1 2 --only phi3flow
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import process_tree
from tools import FLOOR, OURS, AbsentError, Job, Tool, all_tools, last_line, set_up

REFERENCE_LINES = 1000
RATIOS = {"wall": "wall_s", "phase": "request_phase_s", "CPU": "cpu_s", "memory": "peak_pss_mib"}


@dataclass(frozen=True)
class Result:
    """What one tool did with one number of lines; ``problem`` says why there are no figures."""

    tool: str
    lines: int
    wall_s: float = 0.0
    request_phase_s: float = 0.0
    cpu_s: float = 0.0
    peak_pss_mib: float = 0.0
    peak_in_flight: int = 0
    requests: int = 0
    problem: str = ""

    @property
    def lines_per_s(self) -> float:
        """Of the whole command."""
        return self.lines / self.wall_s


@contextlib.contextmanager
def endpoint(delay_ms: float) -> Iterator[tuple[int, int]]:
    """Run a fresh endpoint in a process of its own; yield its port and process id."""
    command = [sys.executable, str(Path(__file__).with_name("endpoint.py")), "--delay-ms", str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def _stats(port: int) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/stats", headers={"Connection": "close"})
    stats: dict[str, float] = json.loads(connection.getresponse().read())
    return stats


def _write_questions(file: Path, lines: int) -> None:
    with file.open("w", encoding="utf-8") as questions:
        for number in range(lines):
            question = f"What is the number of house {number} in the long street of the town?"
            questions.write(json.dumps({"question": question, "ground_truth": str(number)}) + "\n")


def measure(tool: Tool, lines: int, *, delay_ms: float, in_flight: int) -> Result:
    """Run the tool once, in an empty folder against an endpoint that has seen nothing."""
    with tempfile.TemporaryDirectory() as temporary, endpoint(delay_ms) as (port, endpoint_pid):
        questions = Path(temporary) / "questions.jsonl"
        _write_questions(questions, lines)
        job = Job(Path(temporary) / "job", questions, f"http://127.0.0.1:{port}", in_flight)
        job.folder.mkdir()
        log = job.folder / "bench.log"
        environment = {**job.environment, **tool.environment}
        try:
            cost = process_tree.run(tool.command(job), environment=environment, log=log, not_ours={endpoint_pid})
        except (OSError, subprocess.CalledProcessError) as error:
            return Result(tool.name, lines, problem=f"cannot run: {error}")
        stats = _stats(port)
        if cost.exit_code or stats["requests"] < lines:
            last = last_line(log.read_text(encoding="utf-8", errors="replace"))
            problem = f"exit code {cost.exit_code}, {stats['requests']} of {lines} requests: {last}"
            return Result(tool.name, lines, problem=problem)
    return Result(
        tool.name,
        lines,
        wall_s=cost.wall_s,
        request_phase_s=stats["request_phase_s"],
        cpu_s=cost.cpu_s,
        peak_pss_mib=cost.peak_pss_mib,
        peak_in_flight=int(stats["peak_in_flight"]),
        requests=int(stats["requests"]),
    )


def measure_all(tools: list[Tool], args: argparse.Namespace) -> list[Result]:
    """Measure every tool ``--repeat`` times, in turn, and keep the shortest of each."""
    jobs = [(tool, args.lines) for tool in tools]
    if args.lines > REFERENCE_LINES:
        jobs += [(tool, REFERENCE_LINES) for tool in tools if _is_ours(tool.name)]
    absent = {}
    for tool in tools:
        try:
            set_up(tool)
        except AbsentError as error:
            absent[tool] = Result(tool.name, args.lines, problem=f"absent: {error}")
    measured: dict[tuple[Tool, int], list[Result]] = {job: [] for job in jobs}
    for _ in range(args.repeat):
        for tool, lines in jobs:
            if tool not in absent:
                print(f"{tool.name}, {lines} lines …", file=sys.stderr, flush=True)
                result = measure(tool, lines, delay_ms=args.delay_ms, in_flight=args.in_flight)
                measured[tool, lines].append(result)
    return [absent[tool] if tool in absent else _best(results) for (tool, _), results in measured.items()]


def _best(results: list[Result]) -> Result:
    """Return the shortest; one that failed is shown, whatever the others did."""
    return next((result for result in results if result.problem), min(results, key=lambda result: result.wall_s))


def _is_ours(name: str) -> bool:
    return name.startswith(OURS)


def ratios(results: list[Result], lines: int) -> dict[str, dict[str, float]]:
    """Divide phi3flow's figures by the floor's, every other tool's by phi3flow's (its first row's)."""
    good = {result.tool: result for result in results if not result.problem and result.lines == lines}
    ours = next((result for name, result in good.items() if _is_ours(name)), None)
    if ours is None:
        return {}
    pairs = [(ours, good[FLOOR])] if FLOOR in good else []
    pairs += [(result, ours) for name, result in good.items() if name != FLOOR and result is not ours]
    pairs += [
        (good[result.tool], result)
        for result in results
        if result.lines == REFERENCE_LINES != lines
        and not result.problem
        and result.tool in good
        and _is_ours(result.tool)
    ]
    return {f"{_name(a, b)} / {_name(b, a)}": _quotients(a, b) for a, b in pairs}


def _name(result: Result, other: Result) -> str:
    return result.tool if result.lines == other.lines else f"{result.tool}, {result.lines} lines"


def _quotients(result: Result, other: Result) -> dict[str, float]:
    return {name: getattr(result, figure) / getattr(other, figure) for name, figure in RATIOS.items()}


def _print(results: list[Result], args: argparse.Namespace) -> None:
    ideal_s = args.lines * args.delay_ms / 1000 / args.in_flight
    print(f"{args.lines} lines, {args.delay_ms:g} ms an answer, {args.in_flight} in flight: ideally {ideal_s:.2f} s")
    headers = ("lines", "wall s", "phase s", "lines/s", "CPU s", "peak MiB", "in flight", "requests")
    print("\n" + "tool".ljust(22) + "".join(header.rjust(11) for header in headers))
    for result in results:
        if result.problem:
            print(f"{result.tool:<22}{result.lines:>11}  {result.problem}")
            continue
        times = f"{result.wall_s:>11.2f}{result.request_phase_s:>11.2f}{result.lines_per_s:>11.0f}{result.cpu_s:>11.2f}"
        counts = f"{result.peak_pss_mib:>11.0f}{result.peak_in_flight:>11}{result.requests:>11}"
        print(f"{result.tool:<22}{result.lines:>11}{times}{counts}")
    quotients = ratios(results, args.lines)
    width = max(map(len, quotients), default=0)
    if quotients:
        print("\n" + "ratio".ljust(width) + "".join(name.rjust(11) for name in RATIOS))
    for pair, figures in quotients.items():
        print(pair.ljust(width) + "".join(f"{figure:>11.2f}" for figure in figures.values()))


def main() -> None:
    """Measure, and print the table with its ratios."""
    names = [FLOOR, OURS, *(tool.name for tool in all_tools(1, []) if tool.name not in (FLOOR, OURS))]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--delay-ms", type=float, default=100.0, help="of the endpoint (default: %(default)g)")
    parser.add_argument("--in-flight", type=int, default=64, help="(default: %(default)s)")
    parser.add_argument("--workers", type=int, nargs="+", default=[], help="phi3flow's worker processes, a row each")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="TOOL", help=", ".join(names))
    parser.add_argument(
        "--repeat", type=int, default=1, help="runs of each; the shortest counts (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    args = parser.parse_args()
    tools = [tool for tool in all_tools(args.in_flight, args.workers) if tool.name.split()[0] in args.only]
    results = measure_all(tools, args)
    _print(results, args)
    if args.json:
        settings = {"lines": args.lines, "delay_ms": args.delay_ms, "in_flight": args.in_flight}
        rows = [asdict(result) for result in results]
        report = {"settings": settings, "results": rows, "ratios": ratios(results, args.lines)}
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
