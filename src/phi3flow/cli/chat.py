"""Talk to a chat flow in the terminal; it remembers the conversation.

/reset forgets the conversation, /exit or end of input leaves. An answer that fails is reported, and the conversation
goes on without it. Questions may also come through a pipe, one a line; answers go to stdout.

Examples:
  phi3flow chat
  phi3flow chat --variant few_shot --inputs temperature=0 max_new_tokens=256
  phi3flow chat --connection phi3_base
  echo "Who founded Microsoft?" | phi3flow chat --json

Exit codes: 0 every question was answered; 1 an answer failed; 2 usage, configuration, connection or flow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from phi3flow.cli.arguments import add_pairs
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError, Interrupted
from phi3flow.project.paths import CHAT_FLOW, CONNECTIONS

if TYPE_CHECKING:
    from phi3flow.connections.public import Redactor
    from phi3flow.flows import Flow, FlowSession

ENDPOINT_INPUT = "chat.connection"
PROMPTY_INPUT = "model.connection"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument(
        "flow",
        nargs="?",
        type=Path,
        default=CHAT_FLOW,
        metavar="FLOW",
        help=f"a chat flow (default: {CHAT_FLOW})",
    )
    parser.add_argument("--connection", metavar="NAME", help=f"replaces {ENDPOINT_INPUT} (default: the flow's own)")
    parser.add_argument("--variant", help="a variant of the flow")
    add_pairs(parser, "--inputs", metavar="INPUT=VALUE", help="other inputs")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.connections.public import Redactor
    from phi3flow.connections.resolve import connection_source
    from phi3flow.flows import load_flow, open_flow
    from phi3flow.flows.run_file import parse_pairs

    flow = load_flow(args.flow, variant=args.variant)
    endpoint_input = PROMPTY_INPUT if flow.is_prompty else ENDPOINT_INPUT
    flow = flow.with_connections({endpoint_input: args.connection} if args.connection else {})
    chat = Chat(flow, inputs=parse_pairs(args.inputs, flag="--inputs"))
    answers = None if terminal.json_output else sys.stdout  # an open flow sends sys.stdout to stderr
    with open_flow(flow, connections=connection_source(CONNECTIONS.absolute())) as session:
        redactor = Redactor(session)
        names = ", ".join(session.used_connections) or "no connection"
        terminal.note(f"Talking to {flow.name} ({names}). /reset forgets the conversation, /exit leaves.")
        with asyncio.Runner() as runner:
            failed = _converse(chat, session, redactor, runner=runner, answers=answers, terminal=terminal)
    result = {"flow": flow.name, "variant": flow.variant, "failed": failed, "chat_history": chat.history}
    terminal.result(json.loads(redactor.json(json.dumps(result, default=str).encode())))
    return 1 if failed else 0


class Chat:
    """A conversation with a chat flow: ``history`` is in Prompt flow's form, and holds answered questions only.

    Raises ConfigError where the flow is no chat flow, or has no such inputs.
    """

    def __init__(self, flow: Flow, *, inputs: dict[str, str]) -> None:
        from phi3flow.flows.prompty import OUTPUT

        question = next((name for name, declared in flow.inputs.items() if declared.is_chat_input), None)
        answer = flow.chat_output
        if flow.is_prompty:
            question, answer = ("question" if "question" in flow.inputs else None), OUTPUT
        if question is None or answer is None:
            raise ConfigError(f"{flow.folder} is no chat flow: it marks no is_chat_input or no is_chat_output")
        self._question, self._answer = question, answer
        self._as_messages = flow.is_prompty
        self._history = next((name for name, declared in flow.inputs.items() if declared.is_chat_history), None)
        free = [name for name in flow.inputs if name not in (self._question, self._history)]
        unknown = next((name for name in inputs if name not in free), None)
        if unknown:
            raise ConfigError(f"--inputs {unknown}: the flow's other inputs are {', '.join(free) or 'none'}")
        self._inputs = inputs
        self.history: list[dict[str, Any]] = []

    async def ask(self, question: str, session: FlowSession) -> str:
        """Return the flow's answer and remember both. Raises what the flow's tool raises."""
        turns = list(self._messages()) if self._as_messages else self.history
        history = {self._history: turns} if self._history else {}
        inputs = {**self._inputs, **history, self._question: question}
        line = await session.exec_line(inputs, line_number=len(self.history))
        answer = str(line.outputs[self._answer])
        self.history.append({"inputs": {self._question: question}, "outputs": {self._answer: answer}})
        return answer

    def _messages(self) -> Iterator[dict[str, str]]:
        """Yield the conversation as a prompty's template takes it, message by message."""
        for turn in self.history:
            yield {"role": "user", "content": turn["inputs"][self._question]}
            yield {"role": "assistant", "content": turn["outputs"][self._answer]}


def _converse(
    chat: Chat,
    session: FlowSession,
    redactor: Redactor,
    *,
    runner: asyncio.Runner,
    answers: TextIO | None,
    terminal: Terminal,
) -> int:
    """Ask until the input ends; return how many questions failed."""
    failed = 0
    while (question := _read_question()) is not None:
        if question == "/reset":
            chat.history.clear()
            terminal.note("The conversation is forgotten.")
        elif question:
            try:
                answer = runner.run(chat.ask(question, session))
            except Interrupted:
                raise
            except KeyboardInterrupt:
                terminal.note("The answer was stopped.")
            except Exception as error:
                failed += 1
                failure = redactor.describe(error)
                terminal.error(_printable(f"{failure.error.type}: {failure.message}"))
            else:
                if answers:
                    answers.write(_printable(redactor.answer(answer)) + "\n")
                    answers.flush()
    return failed


def _read_question() -> str | None:
    """Return the next question, None at the end."""
    if sys.stdin.isatty():
        sys.stderr.write("\nYou: ")
        sys.stderr.flush()
    line = sys.stdin.readline()
    question = line.strip()
    return None if not line or question == "/exit" else question


def _printable(text: str) -> str:
    """Drop control characters: an answer must not steer the terminal."""
    return "".join(char for char in text if char.isprintable() or char in "\n\t")
