"""ground_truth_likelihood under `phi3flow score`: against the real local server, and against endpoints that cannot."""

from __future__ import annotations

import asyncio
import html
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
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
from tests.support.servers.fault_endpoint import FaultEndpoint, Handler, Reply, Request, Scripted
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
    with FaultEndpoint([reply] * 2, key=KEY) as endpoint:
        [line] = _exec(endpoint.url, _inputs(chat_history=HISTORY, context="Be brief.", answer="nothing"))
        [_, request] = endpoint.requests
    assert [message["role"] for message in request.messages] == ["system", "user", "assistant", "user", "assistant"]
    assert request.messages[2]["content"] == "Bill Gates."
    assert request.messages[-1]["content"] == ROWS[0]["ground_truth"]
    assert request.parameters == {"score_last": True, "max_new_tokens": 1}
    figures = {"log_likelihood": -3.5, "tokens": 7, "perplexity": pytest.approx(math.exp(0.5))}
    assert line.outputs == {**figures, "absent": {}}


def test_of_several_ground_truths_the_first_is_scored() -> None:
    reply: Scripted = {"output": "x", "log_likelihood": -1.0, "tokens": 2}
    with FaultEndpoint([reply] * 5, key=KEY) as endpoint:
        truths = [["it's", "x"], "[not, a list]", "[1] is text", ""]
        _exec(endpoint.url, *(_inputs(ground_truth=truth) for truth in truths))
        sent = [request.messages[-1]["content"] for request in endpoint.requests]
    assert sent[0] == "Hello"  # which asks whether it can
    assert sent[1:] == ["it's", "[not, a list]", "[1] is text", ""]


def test_a_line_without_a_ground_truth_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs at least one ground truth"):
        _exec("http://127.0.0.1:9/score", _inputs(ground_truth=[]))


OPENAI = {"protocol": "openai"}
KNOWN = {"model", "messages", "max_tokens"}


def _serverless(request: Request, *, tells: bool) -> Scripted:
    """Answer as Azure's model inference does: fields that it does not know are refused unless they are passed through.

    A model that ``tells`` prompt_logprobs has a token for each word and two more for each message; the last token of a
    chat of n tokens has n nats, the others one each.
    """
    body, passes = request.json, request.headers.get("extra-parameters") == "pass-through"
    unknown = sorted(body.keys() - KNOWN)
    if unknown and not passes:
        return _refusal(unknown)
    tokens = sum(len(message["content"].split()) + 2 for message in body["messages"])
    tokens += body.get("add_generation_prompt", True)
    answer = {"choices": [{"message": {"role": "assistant", "content": "x"}}], "usage": {"prompt_tokens": tokens}}
    if tells and "prompt_logprobs" in body:
        nats = [1.0] * (tokens - 2) + [float(tokens)]
        answer["prompt_logprobs"] = [None, *({"7": {"logprob": -each}} for each in nats)]
    return answer


def _strict(request: Request) -> Scripted:
    """Answer as an endpoint that refuses what it does not know, whatever is asked of it."""
    unknown = sorted(request.json.keys() - KNOWN)
    return _refusal(unknown) if unknown else _serverless(request, tells=False)


def _refusal(unknown: Sequence[str]) -> Reply:
    return Reply(400, body={"error": {"code": "Bad Request", "message": f"Extra inputs are not permitted: {unknown}"}})


def test_an_endpoint_that_passes_fields_through_gives_the_perplexity_with_its_interval(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truths = ["word " * (1 + number % 5) for number in range(12)]
    rows = [{"question": f"question {number}", "ground_truth": truth} for number, truth in enumerate(truths)]
    make_run(project / ".runs", "twelve", rows, ["x"] * 12)
    with FaultEndpoint(partial(_serverless, tells=True), key=KEY) as endpoint:
        _connect_openai(project, endpoint, monkeypatch)
        done = phi3flow("score", "twelve", "--flow", FLOW, "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    tokens = [len(truth.split()) + 1 for truth in truths]  # the words of an answer, and its end
    nats = [count - 1 + (2 + 2) + count + 1 for count in tokens]
    run = RunFolder(project / ".runs" / "twelve")
    scores = [score.scores for score in run.scores("ground_truth_likelihood")]
    assert [(score["tokens"], score["log_likelihood"]) for score in scores] == [
        (count, -sum_) for count, sum_ in zip(tokens, nats, strict=True)
    ]
    perplexity = json.loads(done.stdout)["metrics"]["ground_truth_likelihood.corpus_perplexity"]
    assert perplexity["mean"] == pytest.approx(math.exp(sum(nats) / sum(tokens)))
    assert perplexity["low"] < perplexity["mean"] < perplexity["high"]
    assert "absent" not in json.loads(done.stdout)
    assert run.metrics("ground_truth_likelihood").absent == {}


@pytest.mark.parametrize(
    ("handler", "requests", "words"),
    [
        (_strict, 2, "Extra inputs are not permitted: ['add_generation_prompt', 'prompt_logprobs']"),
        (partial(_serverless, tells=False), 1, "it does not know prompt_logprobs, which vLLM"),
    ],
    ids=["refuses", "ignores"],
)
def test_over_an_endpoint_that_cannot_the_metric_is_absent_and_the_reason_is_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch, handler: Handler, requests: int, words: str
) -> None:
    with FaultEndpoint(handler, key=KEY) as endpoint:
        _connect_openai(project, endpoint, monkeypatch)
        done, run = _score(project)
        assert len(endpoint.requests) == requests  # for three lines
        shown = phi3flow("score", "answered", "--flow", FLOW, cwd=project).stdout
    assert done.returncode == 0, done.stderr
    result, metrics = json.loads(done.stdout), run.metrics("ground_truth_likelihood")
    assert (result["metrics"], metrics.metrics, metrics.answered_only) == ({}, {}, {})
    assert metrics.absent.keys() == {"log_likelihood", "tokens", "perplexity", "corpus_perplexity"}
    assert all(words in reason and KEY not in reason for reason in metrics.absent.values())
    assert result["absent"] == {f"ground_truth_likelihood.{name}": why for name, why in metrics.absent.items()}
    scores = run.scores("ground_truth_likelihood")
    assert {score.status for score in scores} == {"Completed"}
    assert [[score.error, score.failures, score.counted_as] for score in scores] == [[None, {}, {}]] * 3
    assert "ground_truth_likelihood: no log_likelihood, tokens, perplexity, corpus_perplexity: http" in shown
    assert words.split(",")[0] in shown
    report = phi3flow("report", "answered", "--output", "report.html", cwd=project)
    assert report.returncode == 0, report.stderr
    page = html.unescape((project / "report.html").read_text(encoding="utf-8"))
    assert "ground_truth_likelihood: no log_likelihood, tokens, perplexity, corpus_perplexity: http" in page
    gate = phi3flow("gate", "answered", "--rule", "ground_truth_likelihood.perplexity <= 20", cwd=project)
    assert gate.returncode == 2
    assert words.split(",")[0] in gate.stderr


def _connect_openai(project: Path, endpoint: FaultEndpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    file = project / "connections" / "phi3_endpoint.yml"
    file.write_text(file.read_text().replace("configs:\n", "configs:\n  protocol: openai\n"), encoding="utf-8")
    monkeypatch.setenv("PHI3_ENDPOINT", f"{endpoint.base_url}/v1")


def test_a_line_that_failed_in_the_run_does_not_count_in_an_absent_metric(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run(project / ".runs", "failed", ROWS, ["Bill", None, "In China"])
    with FaultEndpoint(_strict, key=KEY) as endpoint:
        _connect_openai(project, endpoint, monkeypatch)
        done = phi3flow("score", "failed", "--flow", FLOW, "--json", cwd=project)
    assert done.returncode == 1  # as a line failed in the run
    result = json.loads(done.stdout)
    assert (result["metrics"], len(result["absent"])) == ({}, 4)


def test_an_endpoint_that_has_learnt_it_is_asked_again_by_the_same_command(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tells: list[bool] = []
    with FaultEndpoint(lambda request: _serverless(request, tells=bool(tells)), key=KEY) as endpoint:
        _connect_openai(project, endpoint, monkeypatch)
        assert json.loads(_score(project)[0].stdout)["metrics"] == {}
        tells.append(True)
        done, run = _score(project)
    assert json.loads(done.stdout)["metrics"]["ground_truth_likelihood.corpus_perplexity"]["n"] == 3
    assert run.metrics("ground_truth_likelihood").absent == {}


@pytest.mark.parametrize(
    ("script", "configs", "words"),
    [
        (["Paris"], {}, "without a log-likelihood, so there is no perplexity: it does not know score_last"),
        (["Paris"], OPENAI, "it does not know prompt_logprobs, which vLLM"),
        (
            [Reply(422, body="score_last: not known"), "Paris"],
            {},
            "HTTP 422 Unprocessable Entity: score_last: not known (it answers without score_last, and refuses",
        ),
        ([Reply(424, headers={"ms-azureml-model-error-statuscode": "500"}), "Paris"], {}, "without score_last"),
        ([Reply(400), "Paris"], OPENAI, "it answers without prompt_logprobs and add_generation_prompt, and refuses"),
        ([{"output": "x", "log_likelihood": None, "tokens": 3}], {}, "without a log-likelihood"),
        ([{"output": "x", "log_likelihood": -1.0, "tokens": 0}], {}, "without a log-likelihood"),
        ([{"prompt_logprobs": [None, 7]}, {"usage": {"prompt_tokens": 1}}], OPENAI, "not in vLLM's form"),
        ([{"prompt_logprobs": [None]}, {"usage": {"prompt_tokens": 1}}], OPENAI, "leave none for an answer"),
    ],
)
def test_an_endpoint_that_cannot_is_asked_once_for_all_lines_and_the_reason_says_why(
    script: Sequence[Scripted], configs: dict[str, str], words: str
) -> None:
    with FaultEndpoint(script, key=KEY) as endpoint:
        lines = _exec(endpoint.url, _inputs(), _inputs(ROWS[1]), configs=configs)
        assert len(endpoint.requests) == len(script)
    for line in lines:
        absent = line.outputs.pop("absent")
        assert set(line.outputs.values()) == {None}
        assert absent.keys() == {*line.outputs, "corpus_perplexity"}
        assert words in absent["perplexity"]
        assert KEY not in absent["perplexity"]


@pytest.mark.parametrize(
    ("script", "configs", "words"),
    [
        ([{"exception": "out of memory"}], {}, "the model failed under status 200"),
        ([Reply(body="{}")], {}, "content safety blocked it"),
        ([Reply(body="<html>")], {}, "the answer is not JSON"),
        ([Reply(400, body="no such model")] * 2, OPENAI, "HTTP 400 Bad Request: no such model"),
        ([Reply(404)], OPENAI, "HTTP 404"),
    ],
)
def test_an_endpoint_that_fails_is_no_endpoint_that_cannot(
    script: Sequence[Scripted], configs: dict[str, str], words: str
) -> None:
    with FaultEndpoint(script, key=KEY) as endpoint:
        with pytest.raises(Exception, match="http") as caught:
            _exec(endpoint.url, _inputs(), configs=configs)
        assert len(endpoint.requests) == len(script)
    assert words in str(caught.value)
    assert KEY not in str(caught.value)


def test_a_line_that_a_capable_endpoint_refuses_fails_alone() -> None:
    reply: Scripted = {"output": "x", "log_likelihood": -1.0, "tokens": 2}
    with FaultEndpoint([reply, Reply(422, body="too long")], key=KEY) as endpoint:
        with pytest.raises(Exception, match="HTTP 422 Unprocessable Entity: too long$"):
            _exec(endpoint.url, _inputs())
        assert len(endpoint.requests) == 2


def test_a_wrong_key_is_named(server: ServerProcess) -> None:
    with pytest.raises(Exception, match="HTTP 401 Unauthorized") as caught:
        _exec(f"{server.base_url}/score", _inputs(), configs={"key": "wrong-key-0123"})
    assert "wrong-key-0123" not in str(caught.value)


def test_what_passes_is_tried_again() -> None:
    reply: Scripted = {"output": "x", "log_likelihood": -2.0, "tokens": 2}
    faults: list[Scripted] = [Reply(503, headers={"Retry-After": "0"}), Reply(fault="reset")]
    with FaultEndpoint([*faults, reply, *faults, reply], key=KEY) as endpoint:
        [line] = _exec(endpoint.url, _inputs())
        assert len(endpoint.requests) == 6
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


def test_a_perplexity_beyond_every_float_is_absent() -> None:
    with FaultEndpoint([{"output": "x", "log_likelihood": -9999.0, "tokens": 1}] * 2, key=KEY) as endpoint:
        [line] = _exec(endpoint.url, _inputs())
    assert line.outputs == {"log_likelihood": -9999.0, "tokens": 1, "perplexity": None, "absent": {}}
