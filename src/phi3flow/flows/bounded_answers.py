"""Answers that openai's client reads have a bound, as those have that the chat flow's own client reads."""

from __future__ import annotations

import functools
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

MOST_BYTES = 2_000_000
_MOST_AT_ONCE = 4_000_000  # of all that are read or parsed: what a few bytes of JSON become takes a hundred
_FAIR_SHARE = 100_000
_PIECE_BYTES = 4_096  # of what is compressed, at a time: a bomb becomes a thousand times as much


@functools.cache
def bound_answers_of_openai() -> None:
    """Have every client that openai, which is loaded, makes for itself end an answer that passes 2 MB.

    One of more than 100 kB also where all that are in hand pass 4 MB: each is parsed in a thread of its own.
    """
    from openai import _base_client

    def bound(response: Any) -> None:
        response.__class__ = _bounded(type(response))  # type: ignore[arg-type]  # a type is hashable

    async def bound_async(response: Any) -> None:
        bound(response)

    for client, hook in (
        (_base_client.SyncHttpxClientWrapper, bound),
        (_base_client.AsyncHttpxClientWrapper, bound_async),
    ):
        _add_hook(client, hook)


def _add_hook(client: Any, hook: Callable[[Any], Any]) -> None:
    begin = client.__init__

    @functools.wraps(begin)
    def begin_with_hook(self: Any, *arguments: Any, **keywords: Any) -> None:
        begin(self, *arguments, **keywords)
        self.event_hooks = {**self.event_hooks, "response": [*self.event_hooks["response"], hook]}

    client.__init__ = begin_with_hook


@functools.cache
def _bounded(kind: Any) -> Any:
    """Return a response's class whose body raises where it passes the bound."""

    class BoundedResponse(kind):  # type: ignore[misc]
        def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
            yield from super().iter_raw(chunk_size or _piece_bytes(self))

        def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
            size = 0
            for chunk in super().iter_bytes(chunk_size):
                size += len(chunk)
                _refuse_beyond_bound(self, size)
                yield chunk

        async def aiter_raw(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            async for chunk in super().aiter_raw(chunk_size or _piece_bytes(self)):
                yield chunk

        async def aiter_bytes(self, chunk_size: int | None = None) -> AsyncIterator[bytes]:
            size = 0
            async for chunk in super().aiter_bytes(chunk_size):
                size += len(chunk)
                _refuse_beyond_bound(self, size)
                yield chunk

    return BoundedResponse


_in_hand: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
_lock = threading.Lock()


def _refuse_beyond_bound(response: Any, size: int) -> None:
    from openai import OpenAIError  # which its client raises as it is, and tries no other time

    with _lock:
        _in_hand[response] = size
        at_once = sum(_in_hand.values()) if size > _FAIR_SHARE else 0
        if size <= MOST_BYTES and at_once <= _MOST_AT_ONCE:
            return
        del _in_hand[response]
    if size > MOST_BYTES:
        raise OpenAIError(f"the answer is larger than {MOST_BYTES} bytes")
    raise OpenAIError(f"the answers to requests at once are larger than {_MOST_AT_ONCE} bytes")


def _piece_bytes(response: Any) -> int | None:
    return _PIECE_BYTES if "content-encoding" in response.headers else None
