"""A worker process: it holds the open flow and executes the attempts that the runner sends.

    python -P -m phi3flow.workers.worker_main

The runner speaks on standard input and is answered on standard output; what the flow prints goes to standard error.
The process ends at once when standard input does: when the run is over, or the runner died.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys

from phi3flow.connections.public import connection_uses
from phi3flow.errors import Phi3flowError
from phi3flow.flows import FlowSession, open_flow
from phi3flow.workers.attempt import Attempts, run_or_fail
from phi3flow.workers.channel import Channel
from phi3flow.workers.evaluation_attempt import EvaluationAttempts
from phi3flow.workers.messages import Attempt, Begin, BeginEvaluation, Opened, OpenFlow, Refused
from phi3flow.workers.process import end_with_parent

_STEPS_AHEAD = 12

AnyAttempts = Attempts | EvaluationAttempts


def main() -> None:
    """Serve one run, until standard input ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # these reach the whole group: the runner decides what ends
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    end_with_parent()
    channel = Channel()
    try:
        order: OpenFlow = channel.receive()
        with open_flow(order.flow, connections=channel.connection, environment=order.environment) as session:
            channel.send(Opened(connection_uses(session), session.has_aggregation))
            attempts = _attempts(session, channel.receive())
            gc.freeze()  # what is loaded stays: it is not gone through again and again for garbage
            asyncio.run(_serve(channel, attempts))
    except EOFError:
        pass
    except Phi3flowError as error:
        channel.send(Refused(error))
    finally:
        sys.stderr.flush()
        os._exit(0)  # threads of tools that hang are not waited for


def _attempts(session: FlowSession, begin: Begin | BeginEvaluation) -> AnyAttempts:
    return EvaluationAttempts(session, begin) if isinstance(begin, BeginEvaluation) else Attempts(session, begin)


async def _serve(channel: Channel, attempts: AnyAttempts) -> None:
    waiting: asyncio.Queue[Attempt] = asyncio.Queue()
    await channel.listen(waiting.put_nowait)
    running: set[asyncio.Task[None]] = set()
    while True:
        attempt = await waiting.get()
        task = asyncio.create_task(_run(channel, attempts, attempt))
        running.add(task)
        task.add_done_callback(running.discard)
        # Lines that start together come to their requests together, and so do their answers: the processor idles,
        # then all wait for it. So each line gets some steps ahead of the next.
        for _ in range(_STEPS_AHEAD):
            await asyncio.sleep(0)


async def _run(channel: Channel, attempts: AnyAttempts, attempt: Attempt) -> None:
    channel.send(await run_or_fail(attempts.run, attempt))


if __name__ == "__main__":
    main()
