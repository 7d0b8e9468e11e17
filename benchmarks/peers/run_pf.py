"""The real ``pf`` many times over: each line of stdin is a command, {arguments, folder, log, timeout_s}.

pf's own main executes it in a process that is forked from this one, which has promptflow loaded already: that takes
most of a command's time. The workers of a batch run are forked too, where pf would start them anew. Prints each
command's exit code.

    python benchmarks/peers/run_pf.py
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import time
import traceback
from typing import Any


def main() -> None:
    """Execute the commands of stdin."""
    import openai  # noqa: F401
    import pandas  # noqa: F401
    import promptflow._cli.pf
    import promptflow._sdk._orchestrator
    import promptflow.batch
    import promptflow.tools  # noqa: F401

    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if not child:
            _execute(command)
        print(_exit_code(child, command["timeout_s"]), flush=True)


def _execute(command: dict[str, Any]) -> None:
    """Be ``pf``, in a session of its own, and end."""
    import filelock
    import promptflow._cli.pf
    from promptflow._sdk._orm import session
    from promptflow._sdk._utilities import general_utils

    locks = [(session, "lock"), (session, "trace_lock"), (general_utils, "_encryption_key_lock")]
    code: object = 1
    try:
        os.setsid()
        log = os.open(command["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(command["folder"])
        for module, name in locks:  # filelock refuses a lock that was made before the fork
            setattr(module, name, filelock.FileLock(getattr(module, name).lock_file))
        context = multiprocessing.get_context
        multiprocessing.get_context = lambda method=None: context("fork")  # type: ignore
        sys.argv = ["pf", *command["arguments"]]
        promptflow._cli.pf.main()
        code = 0
    except SystemExit as error:
        code = error.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)


def _exit_code(child: int, timeout_s: float) -> int:
    """Wait for a command's end, or end it where it takes too long, and end the processes that it left."""
    ends = time.monotonic() + timeout_s
    ended, status = 0, 0
    while not ended and time.monotonic() < ends:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status if ended else os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
