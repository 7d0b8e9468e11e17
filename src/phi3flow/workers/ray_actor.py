"""A Ray actor: it holds the open flow on some machine of a cluster and executes the attempts that the runner sends.

It does what a process of ``worker`` does; calls and their results take the place of the pipes. Ray's own files get
what the flow prints.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import queue
import threading
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from phi3flow.connections.public import connection_uses
from phi3flow.errors import FlowError, Phi3flowError
from phi3flow.flows import FlowSession, open_flow
from phi3flow.temporary import temporary_folder
from phi3flow.workers.attempt import Attempts, run_or_fail
from phi3flow.workers.messages import (
    Attempt,
    Begin,
    ConnectionFound,
    ConnectionWanted,
    Ended,
    Opened,
    OpenFlow,
    Refused,
)

Answer = ConnectionFound | Refused


class FlowActor:
    """One open flow. ``content`` is a zip of its folder, which this machine need not have.

    Comes with the calls in this order: ``open``, ``answer`` as often as a connection is wanted, ``begin``, ``run``,
    ``leave``.
    """

    def __init__(self, content: bytes) -> None:
        self._left = contextlib.ExitStack()
        self._folder = self._left.enter_context(temporary_folder())
        with zipfile.ZipFile(io.BytesIO(content)) as files:
            files.extractall(self._folder / "flow")
        self._said: queue.SimpleQueue[ConnectionWanted | Opened | Refused] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._session: FlowSession | None = None
        self._attempts: Attempts | None = None
        self._has_begun = asyncio.Event()

    async def open(self, order: OpenFlow) -> ConnectionWanted | Opened | Refused:
        """Load the flow, in a thread that waits for the connections; return what it says first."""
        threading.Thread(target=self._open, args=(order,), name="open flow", daemon=True).start()
        return await asyncio.to_thread(self._said.get)

    async def answer(self, answer: Answer) -> ConnectionWanted | Opened | Refused:
        """Give the connection that was wanted; return what the loading flow says next."""
        self._answers.put(answer)
        return await asyncio.to_thread(self._said.get)

    async def begin(self, begin: Begin, tokenizer: bytes | None) -> None:
        """Say how rows become inputs; ``tokenizer`` is a tokenizer.json, for a machine that has none."""
        assert self._session is not None
        if tokenizer is not None:
            file = self._folder / "tokenizer.json"
            file.write_bytes(tokenizer)
            begin = replace(begin, tokenizer=file)
        self._attempts = Attempts(self._session, begin)
        self._has_begun.set()

    async def run(self, attempt: Attempt) -> Ended:
        """Execute an attempt. Ray may let it overtake ``begin``."""
        await self._has_begun.wait()
        assert self._attempts is not None
        return await run_or_fail(self._attempts.run, attempt)

    async def leave(self) -> None:
        """Remove the files: Ray ends an actor without notice."""
        self._left.close()

    def _open(self, order: OpenFlow) -> None:
        flow = replace(order.flow, folder=self._folder / "flow", includes={})
        opened = open_flow(flow, connections=self._connection, environment=order.environment)
        try:
            self._session = opened.__enter__()  # as long as the actor lives
        except FlowError as error:  # it names files where the user has them
            self._said.put(Refused(FlowError(str(error).replace(str(flow.folder), str(order.flow.folder)))))
        except Phi3flowError as error:
            self._said.put(Refused(error))
        except Exception as error:
            self._said.put(Refused(FlowError(f"{order.flow.folder}: does not load: {type(error).__name__}: {error}")))
        else:
            self._said.put(Opened(connection_uses(self._session)))

    def _connection(self, name: str) -> Mapping[str, Any]:
        self._said.put(ConnectionWanted(name))
        answer = self._answers.get()
        if isinstance(answer, Refused):
            raise answer.error
        return answer.definition
