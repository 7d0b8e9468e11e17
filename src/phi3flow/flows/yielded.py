"""What a tool yields, joined to one text as ``pf`` joins it; an error on the way is the line's."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from concurrent.futures import Executor
from contextvars import ContextVar
from typing import Any

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_ADDRESS = re.compile(r" at 0x[0-9a-f]+>")


class YieldingTimeout(Exception):
    """The nodes ended in time, and what one of them yields did not."""


def set_deadline(timeout_s: float | None) -> None:
    """Give the line at work so many seconds, of which ``join_in_time`` has what its nodes leave."""
    _deadline.set(None if timeout_s is None else asyncio.get_running_loop().time() + timeout_s)


async def join_in_time(outputs: dict[str, Any], threads: Executor) -> dict[str, Any]:
    """Return what ``join_yielded`` does. Raises YieldingTimeout after the line's deadline; a thread is left."""
    try:
        async with asyncio.timeout_at(_deadline.get()) as limit:
            return await join_yielded(outputs, threads)
    except TimeoutError as error:
        if limit.expired():
            raise YieldingTimeout from error
        raise


async def join_yielded(outputs: dict[str, Any], threads: Executor) -> dict[str, Any]:
    """Return outputs with the text of what each generator among them yields; synchronous ones run in a thread.

    Raises what a generator raises, TypeError where it yields what has no text but where it lies in memory.
    """
    return {name: await text_of(value, threads) for name, value in outputs.items()}


async def text_of(value: Any, threads: Executor) -> Any:
    """Return the text of what a generator yields, any other value as it is: see ``join_yielded``."""
    if isinstance(value, AsyncIterator):
        return _join([part async for part in value])
    if isinstance(value, Iterator):
        return await asyncio.get_running_loop().run_in_executor(threads, _join, value)
    return value


def _join(parts: Iterable[Any]) -> str:
    return "".join(map(_text, parts))


def _text(part: Any) -> str:
    text = str(part)
    if not isinstance(part, str) and _ADDRESS.search(text):
        raise TypeError(f"a generator yielded a {type(part).__qualname__}, which has no text of its own")
    return text
