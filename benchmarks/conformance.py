"""promptflow's public example flows, and the flows of its own tests, by the real ``pf`` and by ``phi3flow batch-run``.

FOLDER is a checkout of https://github.com/microsoft/promptflow, which is read and never written to; without one the
page says NOT RUN. Every flow runs over its author's rows (ten at most), else over a row of its defaults, with its
default variant, each other variant and its author's run.yml. Connections lead to a scripted model on 127.0.0.1, and
nothing else can be reached. Compared are outputs, failed lines with the type of their error, metrics, and what the
model was asked; evaluation flows are scored as well. What flows import beside promptflow is taken from PYTHONPATH.

    python benchmarks/conformance.py FOLDER
    python benchmarks/conformance.py FOLDER --only eval-basic chat-basic --output conformance.md
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import queue
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

from conformance_cases import SECTIONS, Case, find_cases
from conformance_page import Row, render_page
from conformance_sides import Lane
from tools import ROOT

LANES = 2
PAGE = ROOT / "docs" / "conformance.md"


def main() -> None:
    """Run all cases, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="a checkout of promptflow's repository")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="only flows whose name has one of these")
    parser.add_argument("--output", type=Path, default=PAGE, help="the page (default: docs/conformance.md)")
    args = parser.parse_args()
    if args.folder is None or not any((args.folder / top).is_dir() for top in SECTIONS.values()):
        print("NOT RUN: give the folder of a checkout of https://github.com/microsoft/promptflow")
        return
    checkout = args.folder.resolve()
    cases = [case for case in find_cases(checkout) if not args.only or any(word in case.name for word in args.only)]
    if not cases:
        parser.error(f"no flow below {checkout} has a name with {' or '.join(args.only or ['flow.dag.yaml'])}")
    rows = run_cases(checkout, cases)
    args.output.write_text(render_page(rows, _heading(checkout)), encoding="utf-8")
    differing = [row for row in rows if row.difference]
    print(f"{args.output}: {len(rows)} runs, {len(differing)} differ")
    for row in differing:
        print(f"  {row.case.name}: {row.difference}")


def run_cases(checkout: Path, cases: Sequence[Case]) -> list[Row]:
    """Run the cases in lanes side by side, and return what came out, in their order."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in range(len(cases)):
        waiting.put(index)
    rows: dict[int, Row] = {}
    with tempfile.TemporaryDirectory(prefix="conformance-") as temporary:
        folder = Path(temporary).resolve()
        for side in ("theirs", "ours"):
            for top in SECTIONS.values():
                if (checkout / top).is_dir():
                    shutil.copytree(checkout / top, folder / side / top, ignore_dangling_symlinks=True)

        def work(number: int) -> None:
            with Lane(folder / f"lane{number}") as lane:
                while True:
                    try:
                        index = waiting.get_nowait()
                    except queue.Empty:
                        return
                    case = cases[index]
                    theirs, ours = lane.run(case)
                    rows[index] = Row(case, theirs, ours, lane.score(case) if case.is_evaluation else {})
                    told = rows[index].difference or rows[index].outcome
                    print(f"{len(rows)}/{len(cases)} {case.name}: {told}", flush=True)

        with ThreadPoolExecutor(LANES) as threads:
            for lane in [threads.submit(work, number) for number in range(min(LANES, len(cases)))]:
                lane.result()
    return [rows[index] for index in range(len(cases))]


def _heading(checkout: Path) -> str:
    """Return when and with what it was run."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("promptflow", "promptflow-tools", "openai")]
    command = ["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    commit = f", its repository at {done.stdout.strip()}" if done.returncode == 0 else ""
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    found = {f"{one.name} {one.version}" for one in importlib.metadata.distributions(path=folders)}
    beside = f"; on PYTHONPATH {', '.join(sorted(found))}" if found else ""
    return f"{datetime.now(UTC):%Y-%m-%d}, {', '.join(versions)}{commit}{beside}"


if __name__ == "__main__":
    main()
