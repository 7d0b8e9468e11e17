"""Messages between the runner and its workers survive any way in which a pipe cuts them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.errors import MissingExtraError
from phi3flow.workers.frames import encode, receive, take_messages
from phi3flow.workers.messages import Attempt, Refused

ATTEMPTS = st.lists(st.builds(Attempt, st.integers(0), st.binary(max_size=100), st.none() | st.text(), st.integers(1)))


@given(attempts=ATTEMPTS, sizes=st.lists(st.integers(1, 50), min_size=1))
def test_messages_come_out_whole_and_in_order(attempts: list[Attempt], sizes: list[int]) -> None:
    stream = b"".join(map(encode, attempts))
    content, received, position, turn = bytearray(), [], 0, 0
    while position < len(stream):
        size = sizes[turn % len(sizes)]
        content += stream[position : position + size]
        received += take_messages(content)
        position, turn = position + size, turn + 1
    assert received == attempts
    assert content == b""


def test_a_blocking_pipe_gives_messages_until_it_ends() -> None:
    pipe = io.BytesIO(encode("a") + encode("b") + b"\0")
    assert [receive(pipe), receive(pipe)] == ["a", "b"]
    with pytest.raises(EOFError):
        receive(pipe)


def test_an_error_with_arguments_of_its_own_travels() -> None:
    error = receive(io.BytesIO(encode(Refused(MissingExtraError("local", "no torch"))))).error
    assert (type(error), str(error)) == (MissingExtraError, str(MissingExtraError("local", "no torch")))
