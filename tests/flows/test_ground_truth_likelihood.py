"""ground_truth_likelihood under `phi3flow score`: against the real local server, and against endpoints that cannot."""

from __future__ import annotations

import asyncio
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from phi3flow.datasets import evaluation_lines
from phi3flow.flows import FlowLine, load_flow, open_flow
from phi3flow.runs.folder import RunFolder
from phi3flow.serving.loading import load_model
from phi3flow.storage.jsonl import read_rows
from phi3flow.training.examples import encode_chats
from phi3flow.training.measurement import measure_loss
from tests.support.command_line import Done, phi3flow
from tests.support.folders.answered_runs import make_run
from tests.support.folders.small_training import small_base, small_fine_tune
from tests.support.folders.tiny_phi3 import CONTEXT_TOKENS, save_tiny_phi3
from tests.support.paths import FLOWS, ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Scripted
from tests.support.servers.serving import KEY, ServerProcess

FLOW = FLOWS / "eval" / "ground_truth_likelihood"
HISTORY = [{"inputs": {"question": "Who founded Microsoft?"}, "outputs": {"answer": "Bill Gates."}}]
ROWS: list[dict[str, Any]] = [
    {"question": "Who founded Microsoft?", "ground_truth": "Bill Gates and Paul Allen founded Microsoft in 1975."},
    {"question": "What is the capital of France?", "ground_truth": "[Paris]", "context": "Answer in one sentence."},
    {"question": "Where is Beijing?", "ground_truth": ["北京是中国的首都。", "China"], "context": ""},
]
CHATS = [
    [
        *([{"role": "system", "content": row["context"]}] if row.get("context") else []),
        {"role": "user", "content": row["question"]},
        {"role": "assistant", "content": truth[0] if isinstance(truth := row["ground_truth"], list) else truth},
    ]
    for row in ROWS
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("likelihood")
    with ServerProcess(save_tiny_phi3(folder / "tiny"), folder / "log") as running:
        yield running


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the connection's file, a run of ROWS, and the key in the environment."""
    (tmp_path / "connections").mkdir()
    shutil.copy(ROOT / "connections" / "phi3_endpoint.yml", tmp_path / "connections")
    make_run(tmp_path / ".runs", "answered", ROWS, ["Bill", "Paris", "In China"])
    monkeypatch.setenv("PHI3_KEY", KEY)
    return tmp_path


def _score(project: Path, *flags: str) -> tuple[Done, RunFolder]:
    done = phi3flow("score", "answered", "--flow", FLOW, "--json", *flags, cwd=project)
    return done, RunFolder(project / ".runs" / "answered")


def _exec(url: str, *lines: Mapping[str, Any], configs: Mapping[str, str] | None = None) -> list[FlowLine]:
    """Execute lines of the flow against a URL; raise what its tool raises."""

    def connection(name: str) -> dict[str, Any]:
        assert name == "phi3_endpoint"
        value = {"endpoint": url, "key": KEY, **(configs or {})}
        return {"type": "CustomConnection", "value": value, "secret_keys": ["key"]}

    async def run() -> list[FlowLine]:
        numbered = list(enumerate(lines))
        return [await session.exec_line(line, line_number=number) for number, line in numbered]

    with open_flow(load_flow(FLOW), connections=connection) as session:
        return asyncio.run(run())


def _inputs(row: Mapping[str, Any] = ROWS[0], **changes: Any) -> dict[str, Any]:
    return {"chat_history": [], "context": "", "answer": "", **row, **changes}


def test_the_runs_perplexity_is_the_one_that_fine_tune_reports(
    server: ServerProcess, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PHI3_ENDPOINT", f"{server.base_url}/score")
    done, run = _score(project)
    assert done.returncode == 0, done.stderr
    model = load_model(server.model)
    examples = encode_chats(model.tokenizer, CHATS, max_tokens=CONTEXT_TOKENS).examples
    metrics = json.loads(done.stdout)["metrics"]
    perplexity = metrics["ground_truth_likelihood.corpus_perplexity"]
    assert perplexity["mean"] == pytest.approx(math.exp(measure_loss(model.model, examples, batch_size=3)), rel=1e-4)
    lines = [score.scores for score in run.scores("ground_truth_likelihood")]
    for line, example in zip(lines, examples, strict=True):
        alone = math.exp(measure_loss(model.model, [example], batch_size=1))
        assert line["perplexity"] == pytest.approx(alone, rel=1e-4)
        assert line["perplexity"] == pytest.approx(math.exp(-line["log_likelihood"] / line["tokens"]))
    assert metrics["ground_truth_likelihood.perplexity"]["mean"] == pytest.approx(
        sum(line["perplexity"] for line in lines) / len(lines)
    )
    assert run.metrics("ground_truth_likelihood").lower_is_better == ["perplexity", "corpus_perplexity"]
    assert run.scores("ground_truth_likelihood")[0].counts == {
        "perplexity": [lines[0]["log_likelihood"], lines[0]["tokens"]]
    }


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Compute on one thread: for so small a model, more of them mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.usefixtures("_one_thread")
def test_a_fine_tune_reports_the_perplexity_that_scoring_its_validation_file_gives(tmp_path: Path) -> None:
    from phi3flow.training import fine_tune

    config = small_fine_tune(tmp_path, small_base(tmp_path / "cache"))
    reported = fine_tune(config).after["validation_perplexity"]
    rows = [row for _, row in read_rows(config.validation)]
    lines = [_inputs(line) for line in evaluation_lines(rows)]
    assert len(lines) == len(rows) == 4
    with ServerProcess(config.output, tmp_path / "log") as running:
        counts = [line.outputs for line in _exec(f"{running.base_url}/score", *map(_known_inputs, lines))]
    log_likelihood, tokens = (sum(count[name] for count in counts) for name in ("log_likelihood", "tokens"))
    assert math.exp(-log_likelihood / tokens) == pytest.approx(reported, rel=1e-4)


def _known_inputs(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in load_flow(FLOW).inputs}


def test_both_protocols_give_the_same_figures(server: ServerProcess) -> None:
    rows = [_inputs(), _inputs(ROWS[1], chat_history=HISTORY)]
    ours = _exec(f"{server.base_url}/score", *rows)
    theirs = _exec(f"{server.base_url}/v1", *rows, configs={"protocol": "openai"})
    assert [line.outputs for line in theirs] == [line.outputs for line in ours]
    assert ours[0].outputs["log_likelihood"] < 0


def test_history_and_context_come_before_the_question_and_the_ground_truth_last() -> None:
    reply: Scripted = {"output": "x", "log_likelihood": -3.5, "tokens": 7}
    with FaultEndpoint([reply], key=KEY) as endpoint:
        [line] = _exec(endpoint.url, _inputs(chat_history=HISTORY, context="Be brief.", answer="nothing"))
        [request] = endpoint.requests
    assert [message["role"] for message in request.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert request.messages[2]["content"] == "Bill Gates."
    assert request.messages[-1]["content"] == ROWS[0]["ground_truth"]
    assert request.parameters == {"score_last": True, "max_new_tokens": 1}
    assert line.outputs == {"log_likelihood": -3.5, "tokens": 7, "perplexity": pytest.approx(math.exp(0.5))}


def test_of_several_ground_truths_the_first_is_scored() -> None:
    reply: Scripted = {"output": "x", "log_likelihood": -1.0, "tokens": 2}
    with FaultEndpoint([reply] * 4, key=KEY) as endpoint:
        truths = [["it's", "x"], "[not, a list]", "[1] is text", ""]
        _exec(endpoint.url, *(_inputs(ground_truth=truth) for truth in truths))
        sent = [request.messages[-1]["content"] for request in endpoint.requests]
    assert sent == ["it's", "[not, a list]", "[1] is text", ""]


def test_a_line_without_a_ground_truth_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs at least one ground truth"):
        _exec("http://127.0.0.1:9/score", _inputs(ground_truth=[]))


@pytest.mark.parametrize(
    ("script", "configs", "words"),
    [
        (["Paris"], {}, "without a log-likelihood, so there is no perplexity: it does not know score_last"),
        (["Paris"], {"protocol": "openai"}, "it does not know prompt_logprobs, which vLLM"),
        (
            [Reply(422, body="score_last: not known")],
            {},
            "HTTP 422 Unprocessable Entity: score_last: not known (an endpoint that does not",
        ),
        ([Reply(424, headers={"ms-azureml-model-error-statuscode": "500"})], {}, "does not know score_last may refuse"),
        ([Reply(400)], {"protocol": "openai"}, "does not know prompt_logprobs and add_generation_prompt may refuse"),
        ([{"output": "x", "log_likelihood": None, "tokens": 3}], {}, "without a log-likelihood"),
        ([{"output": "x", "log_likelihood": -1.0, "tokens": 0}], {}, "without a log-likelihood"),
        ([{"exception": "out of memory"}], {}, "the model failed under status 200"),
        ([Reply(body="{}")], {}, "content safety blocked it"),
        ([Reply(body="<html>")], {}, "the answer is not JSON"),
    ],
)
def test_an_endpoint_that_cannot_is_asked_once_and_the_error_says_why(
    script: Sequence[Scripted], configs: dict[str, str], words: str
) -> None:
    with FaultEndpoint(script, key=KEY) as endpoint:
        with pytest.raises(Exception, match="http") as caught:
            _exec(endpoint.url, _inputs(), configs=configs)
        assert len(endpoint.requests) == 1
    assert words in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_wrong_key_is_named(server: ServerProcess) -> None:
    with pytest.raises(Exception, match="HTTP 401 Unauthorized") as caught:
        _exec(f"{server.base_url}/score", _inputs(), configs={"key": "wrong-key-0123"})
    assert "wrong-key-0123" not in str(caught.value)


def test_what_passes_is_tried_again() -> None:
    reply: Scripted = {"output": "x", "log_likelihood": -2.0, "tokens": 2}
    faults: list[Scripted] = [Reply(503, headers={"Retry-After": "0"}), Reply(fault="reset")]
    with FaultEndpoint([*faults, reply], key=KEY) as endpoint:
        [line] = _exec(endpoint.url, _inputs())
        assert len(endpoint.requests) == 3
    assert line.outputs["perplexity"] == pytest.approx(math.e)


def test_a_retry_after_beyond_a_requests_time_is_left_to_the_caller() -> None:
    with FaultEndpoint([Reply(429, headers={"Retry-After": "3600"})] * 2, key=KEY) as endpoint:
        with pytest.raises(Exception, match="to be retried after 3600 s"):
            _exec(endpoint.url, _inputs())
        assert len(endpoint.requests) == 1


def test_retries_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHI3_MAX_RETRIES", "1")
    with FaultEndpoint([Reply(503, headers={"Retry-After": "0"})] * 3, key=KEY) as endpoint:
        with pytest.raises(Exception, match="HTTP 503"):
            _exec(endpoint.url, _inputs())
        assert len(endpoint.requests) == 2


def test_score_over_an_endpoint_that_cannot_gives_no_metric_and_the_reason(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        monkeypatch.setenv("PHI3_ENDPOINT", endpoint.url)
        done, run = _score(project)
    assert done.returncode == 1
    assert json.loads(done.stdout)["metrics"] == {}
    assert "3 of 3 lines have no score; the first: line 0: EndpointError: " in done.stderr
    assert "so there is no perplexity: it does not know score_last" in done.stderr
    errors = [score.error for score in run.scores("ground_truth_likelihood")]
    assert all(error is not None and "there is no perplexity" in error.message for error in errors)


def test_a_perplexity_beyond_every_float_is_absent() -> None:
    with FaultEndpoint([{"output": "x", "log_likelihood": -9999.0, "tokens": 1}], key=KEY) as endpoint:
        [line] = _exec(endpoint.url, _inputs())
    assert line.outputs == {"log_likelihood": -9999.0, "tokens": 1, "perplexity": None}
