"""Run a command and say what it and every process it started cost: wall time, CPU time and peak memory. Linux only.

CPU time is what the kernel says when a process is waited for (os.wait4: the process, and all the descendants it waited
for itself). The benchmark is the tree's subreaper: a descendant whose parent ended without waiting for it becomes the
benchmark's child, is ended with the command and is waited for here, so that its CPU time counts too.

Memory is the sum of the processes' proportional set sizes (PSS, /proc/PID/smaps_rollup), which counts a page that
several processes share once. It is sampled every 100 ms, or more rarely where a sample takes over 10 ms (a tree of many
processes on a busy machine), since sampling takes processor time from what is measured; a shorter peak may be missed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import psutil

SAMPLE_INTERVAL_S = 0.1
LARGEST_SAMPLING_SHARE = 0.1
TIMEOUT_S = 3600.0
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


@dataclass(frozen=True)
class Cost:
    """What a command and its descendants cost."""

    exit_code: int
    wall_s: float
    cpu_s: float
    peak_pss_mib: float


def run(command: list[str], *, environment: dict[str, str], log: Path, not_ours: Collection[int]) -> Cost:
    """Run ``command`` in the log's folder, and end all it leaves behind.

    ``not_ours`` are this process's children that were there before. A command that takes over an hour is killed.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    started_s = time.perf_counter()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=log.parent,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    sampler = _Sampler(process, not_ours)
    sampler.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started_s
        process.returncode = os.waitstatus_to_exitcode(status)
    finally:
        sampler.stop()
        left_behind_s = _end_children(not_ours)
    cpu_s = usage.ru_utime + usage.ru_stime + left_behind_s
    return Cost(process.returncode, wall_s, cpu_s, sampler.peak_bytes / 2**20)


def _end_children(not_ours: Collection[int]) -> float:
    """Kill and wait for our children, and for those they leave to us, until none is left; return their CPU time."""
    cpu_s = 0.0
    while left := [child for child in psutil.Process().children() if child.pid not in not_ours]:
        for child in left:
            os.kill(child.pid, 9)
            _, _, usage = os.wait4(child.pid, 0)
            cpu_s += usage.ru_utime + usage.ru_stime
    return cpu_s


class _Sampler(threading.Thread):
    """Keeps the peak memory of this process's descendants; kills the command once its time is over."""

    def __init__(self, process: subprocess.Popen[bytes], not_ours: Collection[int]) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.not_ours = not_ours
        self.peak_bytes = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        deadline_s = time.monotonic() + TIMEOUT_S
        interval_s = SAMPLE_INTERVAL_S
        while not self.stopped.wait(interval_s):
            started_s = time.monotonic()
            descendants = psutil.Process().children(recursive=True)
            pids = {process.pid for process in descendants} - set(self.not_ours)
            self.peak_bytes = max(self.peak_bytes, sum(_pss_bytes(pid) for pid in pids))
            interval_s = max(SAMPLE_INTERVAL_S, (time.monotonic() - started_s) / LARGEST_SAMPLING_SHARE)
            if time.monotonic() > deadline_s:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.process.pid, 9)

    def stop(self) -> None:
        self.stopped.set()
        self.join()


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):  # it has ended
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
