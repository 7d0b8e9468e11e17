"""Threads for synchronous tools: one for each call at work, reused, and never waited for."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

_Call = tuple[Future[Any], Callable[[], Any]]


class ToolThreads(Executor):
    """An executor that never queues a call: it takes an idle thread, or starts one.

    The callers bound how many calls are made at once. The threads are daemons, so that a tool that hangs costs its
    thread and not the end of the process; ThreadPoolExecutor's own are joined at exit. A call runs in the context
    variables of whoever submitted it.
    """

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[_Call]] = []

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``function`` in a thread now."""
        future: Future[Any] = Future()
        context = contextvars.copy_context()
        call = (future, lambda: context.run(function, *args, **kwargs))
        try:
            self._idle.pop().put(call)
        except IndexError:
            threading.Thread(target=self._work, args=(call,), name="tool", daemon=True).start()
        return future

    def _work(self, first: _Call) -> None:
        calls: SimpleQueue[_Call] = SimpleQueue()
        call = first
        while True:
            _complete(*call)
            del call  # or an idle thread would keep the last line's values
            self._idle.append(calls)
            call = calls.get()


def _complete(future: Future[Any], function: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        with as_line_failure():
            future.set_result(function())
    except BaseException as error:
        future.set_exception(error)


@contextlib.contextmanager
def as_line_failure() -> Iterator[None]:
    """Turn what would end the loop of all lines, or never reach it, into an error like any other."""
    try:
        yield
    except BaseException as error:
        if is_cancelled() or (isinstance(error, Exception) and not isinstance(error, StopIteration)):
            raise
        raise RuntimeError(f"the tool raised {type(error).__name__}: {error}") from error


def is_cancelled() -> bool:
    """Whether somebody asked for the end of the task at work: it was no tool that raised CancelledError by itself."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # a thread, which has no loop
        return False
    return task is not None and task.cancelling() > 0
