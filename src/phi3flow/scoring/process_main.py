"""A process that helps to score: it executes the evaluation flow on the lines that it is sent.

    python -P -m phi3flow.scoring.process_main

It ends when standard input does, and at the first outcome that cannot be handed over: the other side then scores alone.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from phi3flow.connections.public import Redactor
from phi3flow.errors import FlowError
from phi3flow.flows import open_flow
from phi3flow.flows.evaluation import AnsweredLine, Evaluator
from phi3flow.scoring.execution import Attempted, ObservedEvaluator, OpenEvaluation
from phi3flow.workers.channel import Channel
from phi3flow.workers.process import end_with_parent

_LINES_AT_ONCE = 8


def main() -> None:
    """Execute lines until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the scoring process ends this one
    end_with_parent()
    channel = Channel()
    code = 1
    try:
        order: OpenEvaluation = channel.receive()
        with open_flow(order.flow, connections=_refuse, environment=order.environment) as session:
            evaluator = ObservedEvaluator(Evaluator(session, order.mapping, redact=str), Redactor(session))
            gc.freeze()  # what is loaded stays: it is not gone through again and again for garbage
            while True:
                channel.send(asyncio.run(_attempt(evaluator, channel.receive())))
    except EOFError:
        code = 0
    finally:
        os._exit(code)  # threads of tools that hang are not waited for


async def _attempt(evaluator: ObservedEvaluator, lines: Sequence[AnsweredLine]) -> list[Attempted]:
    """Return what becomes of each line, in their order."""
    outcomes: dict[int, Attempted] = {}
    remaining = iter(enumerate(lines))

    async def work() -> None:
        for index, line in remaining:
            outcomes[index] = await evaluator.attempt(line)

    await asyncio.gather(*(work() for _ in range(_LINES_AT_ONCE)))
    return [outcomes[index] for index in range(len(lines))]


def _refuse(name: str) -> Mapping[str, Any]:
    raise FlowError(f"{name}: a flow that asks an endpoint is not helped")


if __name__ == "__main__":
    main()
