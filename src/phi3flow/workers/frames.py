"""Messages between processes, over a pipe: a pickle with its length before it.

Both ends are ours and run as the same user; what a model or the data said travels inside as bytes and text.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Iterator
from typing import IO, Any

HEADER = struct.Struct("!I")


def encode(message: object) -> bytes:
    """Return a message as it goes over the pipe."""
    content = pickle.dumps(message)
    return HEADER.pack(len(content)) + content


def receive(pipe: IO[bytes]) -> Any:
    """Return the next message of a blocking, unbuffered pipe. Raises EOFError at its end."""
    (size,) = HEADER.unpack(_read(pipe, HEADER.size))
    return pickle.loads(_read(pipe, size))


def take_messages(content: bytearray) -> Iterator[Any]:
    """Yield the messages that are complete in ``content``, and take them out of it."""
    while len(content) >= HEADER.size:
        (size,) = HEADER.unpack_from(content)
        end = HEADER.size + size
        if len(content) < end:
            return
        message = pickle.loads(memoryview(content)[HEADER.size : end])
        del content[:end]
        yield message


def _read(pipe: IO[bytes], size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = pipe.read(size - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content
