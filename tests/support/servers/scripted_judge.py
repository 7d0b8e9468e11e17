"""A judge on 127.0.0.1, an OpenAI-compatible server whose verdicts a test decides, metric by metric."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from phi3flow.records.scores import LineScore, RunMetrics
from tests.support.command_line import Done, phi3flow
from tests.support.folders.answered_runs import make_run
from tests.support.paths import FLOWS
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request, Scripted

FLOW = FLOWS / "eval" / "answer_quality"
KEY = "key-of-the-judge-0123456789"
_OPENINGS = {
    "Relevance measures": "relevance",
    "Coherence of an answer": "coherence",
    "Fluency measures": "fluency",
    "Equivalence, as a metric": "similarity",
    "You will be presented with a CONTEXT": "groundedness",
}

Verdicts = Callable[[str, str, Request], Scripted]
"""Gives the reply for a metric and the judged line's part of the prompt, its last."""


def judge(verdicts: Verdicts) -> FaultEndpoint:
    """Return a server, not yet started, that answers each prompt as ``verdicts`` says; it needs ``KEY``."""
    return FaultEndpoint(lambda request: verdicts(metric_of(request), judged_part(request), request), key=KEY)


def metric_of(request: Request) -> str:
    """Return the metric that a request asks for."""
    return next(metric for opening, metric in _OPENINGS.items() if request.question.startswith(opening))


def judged_part(request: Request) -> str:
    """Return the last paragraph of the prompt, which holds the line's own texts."""
    return request.question.rpartition("\n\n")[2].rpartition("## Actual Task Input:")[2]


class JudgedRun:
    """A run in a folder of its own, to be scored by the judge at ``endpoint``."""

    def __init__(
        self, folder: Path, endpoint: FaultEndpoint, rows: Sequence[Mapping[str, Any]], answers: Sequence[str | None]
    ) -> None:
        self.folder = folder
        self.run = make_run(folder / ".runs", "judged", rows, answers)
        (folder / "connections").mkdir()
        (folder / "connections" / "judge_local.yml").write_text(
            f"name: judge_local\ntype: open_ai\nbase_url: {endpoint.base_url}/v1\napi_key: {KEY}\n", encoding="utf-8"
        )

    def score(self, *flags: object) -> Done:
        """Run ``phi3flow score`` on it with answer_quality, whose judge is the model phi3."""
        judge = ("--connections", "judge_line.connection=judge_local", "judge_line.model=phi3")
        return phi3flow("score", "judged", "--flow", FLOW, *judge, *flags, cwd=self.folder)

    @property
    def lines(self) -> list[LineScore]:
        """The scores by line_number."""
        return self.run.scores("answer_quality")

    @property
    def metrics(self) -> RunMetrics:
        """The estimates, and who judged."""
        return self.run.metrics("answer_quality")


def refusal(text: str) -> Reply:
    """Return a completion in which the judge refuses, as OpenAI's models do."""
    message = {"role": "assistant", "content": None, "refusal": text}
    return completion(message)


def completion(message: dict[str, object], *, finish_reason: str = "stop") -> Reply:
    """Return a completion with this message."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    body = {"id": "1", "object": "chat.completion", "created": 0, "model": "phi3", "choices": [choice]}
    return Reply(body=body)
