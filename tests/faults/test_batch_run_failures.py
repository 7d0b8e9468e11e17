"""What batch-run makes of each way in which an endpoint fails: what it tries again, and what it records.

One run of flows/chat_phi3, one question a kind, and the kind is the same at every attempt. How the flow's client reads
a failure is tested with the flow; this is about what the runner does with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from phi3flow.records.lines import LineResult
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import write_lines
from tests.support.folders.batch_project import KEY
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import HTML_PAGE, Attempts, FaultEndpoint, Reply

TRIED_AGAIN, FINAL = 2, 1
"""Attempts with --max-retries 1."""


def _model_status(status: int) -> Reply:
    headers = {"ms-azureml-model-error-statuscode": str(status), "ms-azureml-model-error-reason": "model_error"}
    return Reply(424, headers=headers)


@dataclass(frozen=True)
class Kind:
    """A way to fail, and what batch-run makes of it. ``says`` stands in the recorded message."""

    reply: Reply
    attempts: int
    says: str
    status_code: int | None = None
    type: str = "EndpointError"


_FOUND = {"hate": {"filtered": True, "severity": "high"}}
CONTENT_FILTER = {"error": {"code": "content_filter", "innererror": {"content_filter_result": _FOUND}}}

KINDS = {
    "400": Kind(Reply(400), FINAL, "HTTP 400", 400),
    "500": Kind(Reply(500), TRIED_AGAIN, "HTTP 500", 500),
    "401": Kind(Reply(401), FINAL, "the key is wrong or has expired", 401),
    "502 with an HTML page": Kind(Reply(502, HTML_PAGE), TRIED_AGAIN, "502 Bad Gateway", 502),
    "403": Kind(Reply(403), FINAL, "the key may not use this endpoint", 403),
    "503": Kind(Reply(503), TRIED_AGAIN, "HTTP 503", 503),
    "404": Kind(Reply(404), FINAL, "no deployment has traffic", 404),
    "504": Kind(Reply(504), TRIED_AGAIN, "HTTP 504", 504),
    "413": Kind(Reply(413), FINAL, "the request is too large", 413),
    "408": Kind(Reply(408), TRIED_AGAIN, "request_timeout_ms", 408),
    "422": Kind(Reply(422), FINAL, "HTTP 422", 422),
    "424, the model's status 429": Kind(_model_status(429), TRIED_AGAIN, "its status 429, model_error", 424),
    "424, the model's status 500": Kind(_model_status(500), FINAL, "its status 500, model_error", 424),
    "424, the model's status 503": Kind(_model_status(503), TRIED_AGAIN, "its status 503, model_error", 424),
    "424 without a model's status": Kind(Reply(424), FINAL, "its status unknown", 424),
    "429": Kind(Reply(429), TRIED_AGAIN, "too many requests", 429),
    "an HTML page": Kind(Reply(200, HTML_PAGE), FINAL, "the answer is not JSON", 200),
    "429 with Retry-After": Kind(Reply(429, headers={"Retry-After": "1"}), TRIED_AGAIN, "retried after 1 s", 429),
    "wrong JSON": Kind(Reply(200, {"choices": 1}), FINAL, "the answer has no text in 'output'", 200),
    "a reset": Kind(Reply(fault="reset"), TRIED_AGAIN, "the connection failed"),
    "200 with an error": Kind(Reply(200, {"error": "CUDA"}), FINAL, "the model failed under status 200", 200),
    "a cut body": Kind(Reply(answer="x" * 100, fault="cut"), TRIED_AGAIN, "the answer was cut short"),
    "200 with an exception in a string": Kind(
        Reply(200, json.dumps(json.dumps({"exception": "CUDA"}))), FINAL, "the model failed under status 200", 200
    ),
    "a slow drip": Kind(
        Reply(answer="x" * 200, fault="drip", drip_s=0.1),
        TRIED_AGAIN,
        "no answer within 2 s",
        type="TimeoutError",
    ),
    "400 by content safety": Kind(Reply(400, CONTENT_FILTER), FINAL, "blocked the question (hate: high)", 400),
    "429 with OpenAI's reset": Kind(
        Reply(429, headers={"x-ratelimit-reset-requests": "1s"}), TRIED_AGAIN, "retried after 1 s", 429
    ),
    "{}": Kind(Reply(200, {}), FINAL, "content safety blocked it", 200),
    "a hang": Kind(Reply(fault="hang"), TRIED_AGAIN, "no answer within 2 s", type="TimeoutError"),
}


@dataclass(frozen=True)
class Failures:
    """The run. ``requests`` counts those of each question."""

    run: RunFolder
    returncode: int
    requests: dict[str, int]
    results: dict[str, LineResult]


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Failures]:
    """Run flows/chat_phi3 over a question of each kind, and one that is answered after each."""
    folder = tmp_path_factory.mktemp("failures")
    for name in ("flows", "connections"):
        (folder / name).symlink_to(ROOT / name)
    questions = [question for kind in KINDS for question in (kind, f"after {kind}")]
    write_lines(folder / "lines.jsonl", ({"question": question} for question in questions))
    script = Attempts({name: [kind.reply] for name, kind in KINDS.items()})
    with FaultEndpoint(script, key=KEY) as endpoint:
        command = [sys.executable, "-m", "phi3flow.cli.main", "batch-run", "flows/chat_phi3", "--data", "lines.jsonl"]
        flags = ["--max-retries", "1", "--timeout-s", "2", "--concurrency", "8", "--name", "run", "--json"]
        environment = {**os.environ, "PHI3_ENDPOINT": endpoint.url, "PHI3_KEY": KEY}
        process = subprocess.run(
            [*command, *flags], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        run = RunFolder(folder / ".runs" / "run")
        results = {questions[result.line_number]: result for result in run.results()}
        yield Failures(run, process.returncode, dict(script.count), results)


@pytest.mark.parametrize("name", KINDS)
def test_a_failure_is_recorded_and_tried_again_where_that_may_help(failures: Failures, name: str) -> None:
    kind, result = KINDS[name], failures.results[name]
    assert result.status == "Failed"
    assert result.outputs is None
    assert result.error is not None
    assert kind.says in result.error.message
    assert (result.error.type, result.error.status_code) == (kind.type, kind.status_code)
    assert result.attempts == failures.requests[name] == kind.attempts
    assert KEY not in result.error.message


def test_the_lines_between_are_answered_at_the_first_attempt(failures: Failures) -> None:
    between = [f"after {name}" for name in KINDS]
    assert [failures.results[name].outputs for name in between] == [{"answer": f"echo: {name}"} for name in between]
    assert [failures.requests[name] for name in between] == [1] * len(between)


def test_the_run_counts_them_all_and_exits_with_1(failures: Failures) -> None:
    retries = sum(kind.attempts - 1 for kind in KINDS.values())
    counts = {"total": 2 * len(KINDS), "completed": len(KINDS), "failed": len(KINDS), "retries": retries}
    assert failures.run.manifest.counts.model_dump() == counts
    assert failures.returncode == 1
