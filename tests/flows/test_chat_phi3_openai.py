"""The chat flow over OpenAI's protocol, as Azure OpenAI and serverless deployments speak it: filters, limits."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import openai
import pytest

from phi3flow.flows import load_flow, open_flow
from phi3flow.pacing.failures import describe_failure
from phi3flow.report.run_view import view_run
from phi3flow.runs.folder import RunFolder
from tests.support.command_line import phi3flow
from tests.support.flows.chat_flow import KEY, load_client
from tests.support.flows.foreign_flows import write_lines
from tests.support.flows.llm_flow import ROUTES, write_llm_flow
from tests.support.paths import ROOT
from tests.support.servers.fault_endpoint import FaultEndpoint, Reply, Request

DEPLOYMENT = "phi3-tuned"
SAFE = {"filtered": False, "severity": "safe"}


def azure_error(code: str, message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "type": None, "param": None, **more}}


def prompt_blocked(number: int = 0, **results: dict[str, Any]) -> Reply:
    """What Azure OpenAI and serverless deployments answer where the prompt is filtered."""
    found = {"hate": SAFE, "self_harm": SAFE, "sexual": SAFE, "violence": SAFE} | results
    cause = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": found}
    message = f"The response was filtered due to the prompt triggering the content management policy ({number})."
    return Reply(400, body=azure_error("content_filter", message, status=400, innererror=cause))


def answer_blocked(content: str | None, **results: dict[str, Any]) -> Reply:
    choice = {"index": 0, "finish_reason": "content_filter", "content_filter_results": {"hate": SAFE} | results}
    message = {} if content is None else {"message": {"role": "assistant", "content": content}}
    return Reply(body={"choices": [choice | message], "usage": {"prompt_tokens": 5, "completion_tokens": 1}})


HATE = {"filtered": True, "severity": "high"}
VIOLENCE = {"filtered": True, "severity": "medium"}
JAILBREAK = {"filtered": True, "detected": True}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("PHI3_MAX_RETRIES", "3")
    module, http = load_client()
    monkeypatch.setitem(sys.modules, "phi3_http", http)
    return module


def complete(client: ModuleType, server: FaultEndpoint, *, route: str = "/openai/v1", **configs: str) -> str:
    url = server.base_url + route
    connection = SimpleNamespace(
        configs={"endpoint": url, "protocol": "openai", "model": DEPLOYMENT} | configs, secrets={"key": KEY}
    )
    return str(asyncio.run(client.complete(connection, [{"role": "user", "content": "Who?"}], max_new_tokens=8)))


def test_azure_openais_v1_route_takes_the_deployment_as_the_model_and_the_key_as_a_bearer(client: ModuleType) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        assert complete(client, endpoint) == "echo: Who?"
        [request] = endpoint.requests
    assert (request.path, request.query) == ("/openai/v1/chat/completions", "")
    assert (request.json["model"], request.headers["Authorization"]) == (DEPLOYMENT, f"Bearer {KEY}")


@pytest.mark.parametrize(
    ("reply", "status", "words"),
    [
        (prompt_blocked(hate=HATE, jailbreak=JAILBREAK), 400, "blocked the question (hate: high; jailbreak)"),
        (prompt_blocked(violence=VIOLENCE), 400, "blocked the question (violence: medium)"),
        (Reply(400, body=azure_error("content_filter", "filtered")), 400, "blocked the question"),
        (answer_blocked("Par", violence=VIOLENCE), 200, "blocked the answer (violence: medium)"),
        (answer_blocked(None, hate=HATE, protected_material_text=JAILBREAK), 200,
         "blocked the answer (hate: high; protected_material_text)"),
        (Reply(body={"choices": [{"finish_reason": "content_filter", "message": {"content": ""}}]}), 200,
         "blocked the answer"),
    ],
)  # fmt: skip
def test_what_content_safety_blocks_is_a_failure_with_its_reasons_and_never_retried(
    client: ModuleType, reply: Reply, status: int, words: str
) -> None:
    with FaultEndpoint([reply, "never asked"]) as endpoint:
        with pytest.raises(client.EndpointError) as caught:
            complete(client, endpoint)
        assert len(endpoint.requests) == 1
    assert str(caught.value).endswith(f"/openai/v1/chat/completions: content safety {words}")
    assert (caught.value.status_code, caught.value.retryable) == (status, False)


def test_a_filters_words_are_cut_and_printable(client: ModuleType) -> None:
    hostile = {"filtered": True, "severity": "\x1b[2J<b>" + "x" * 900}
    with FaultEndpoint([prompt_blocked(hate=hostile)]) as endpoint, pytest.raises(client.EndpointError) as caught:
        complete(client, endpoint)
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 450


NOT_THERE = azure_error("DeploymentNotFound", "The API deployment for this resource does not exist.")
TOO_LONG = azure_error("context_length_exceeded", "This model's maximum context length is 8 tokens.", type="invalid")


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(401, body=azure_error("401", "Access denied due to invalid subscription key or wrong API endpoint.")),
         "the key is wrong or has expired: it must be one of this endpoint's own: .*Access denied"),
        (Reply(404, body=NOT_THERE), f"the deployment {DEPLOYMENT} does not exist, or Azure removed it: one that is "
         "idle for 15 days is deleted .of the developer tier: after 24 hours., its model is kept: "
         "phi3flow deploy --backend azure-openai"),
        (Reply(404), "there is no such path"),
        (Reply(400, body=TOO_LONG),
         "more tokens than the model takes: shorten the prompt, the history or max_new_tokens"),
    ],
)  # fmt: skip
def test_azure_openais_refusals_say_what_to_do(client: ModuleType, reply: Reply, words: str) -> None:
    with FaultEndpoint([reply, "never asked"]) as endpoint:
        with pytest.raises(client.EndpointError, match=words):
            complete(client, endpoint)
        assert len(endpoint.requests) == 1


def test_on_the_older_route_the_deployment_that_is_not_there_is_that_of_the_path(client: ModuleType) -> None:
    with (
        FaultEndpoint([Reply(404, body=NOT_THERE)]) as endpoint,
        pytest.raises(client.EndpointError, match="the deployment gone does not exist"),
    ):
        complete(client, endpoint, route="/openai/deployments/gone", api_version="2024-10-21")


WAITS = {
    "Retry-After": ({"Retry-After": "1"}, 1.0),
    "retry-after-ms before it": ({"Retry-After": "60", "retry-after-ms": "700"}, 0.7),
    "retry-after-ms that is no number": ({"Retry-After": "1", "retry-after-ms": "soon"}, 1.0),
    "OpenAI's resets, requests used up": (
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "900ms",
         "x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "1m30s"}, 0.9),
    "OpenAI's resets, the later": (
        {"x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "6ms",
         "x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "1.2s"}, 1.2),
    "Azure's whole seconds": ({"x-ratelimit-reset-tokens": "1"}, 1.0),
}  # fmt: skip


@pytest.mark.parametrize(("headers", "wait_s"), WAITS.values(), ids=WAITS.keys())
def test_a_rate_limit_is_waited_for_as_the_service_says(
    client: ModuleType, headers: dict[str, str], wait_s: float
) -> None:
    with FaultEndpoint([Reply(429, headers=headers)]) as endpoint:
        assert complete(client, endpoint) == "echo: Who?"
        first, second = endpoint.requests
    assert wait_s <= second.time - first.time < wait_s + 0.6


@pytest.mark.parametrize(("headers", "wait_s"), WAITS.values(), ids=WAITS.keys())
def test_the_runner_reads_the_same_of_openais_own_error(headers: dict[str, str], wait_s: float) -> None:
    with FaultEndpoint([Reply(429, headers=headers)]) as endpoint:
        asker = openai.OpenAI(base_url=f"{endpoint.base_url}/openai/v1", api_key=KEY, max_retries=0)
        with pytest.raises(openai.RateLimitError) as caught:
            asker.chat.completions.create(model=DEPLOYMENT, messages=[{"role": "user", "content": "q"}])
    failure = describe_failure(caught.value)
    assert (failure.retryable, failure.retry_after_s) == (True, pytest.approx(wait_s))


def test_when_a_limit_is_whole_again_is_no_wait_of_another_failure() -> None:
    with FaultEndpoint([Reply(400, headers={"x-ratelimit-reset-requests": "10s"})]) as endpoint:
        asker = openai.OpenAI(base_url=f"{endpoint.base_url}/openai/v1", api_key=KEY, max_retries=0)
        with pytest.raises(openai.BadRequestError) as caught:
            asker.chat.completions.create(model=DEPLOYMENT, messages=[{"role": "user", "content": "q"}])
    assert describe_failure(caught.value).retry_after_s is None


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose phi3_endpoint is a deployment of Azure OpenAI's."""
    (tmp_path / "flows").symlink_to(ROOT / "flows")
    (tmp_path / "connections").mkdir()
    configs = f"{{endpoint: '${{env:PHI3_ENDPOINT}}', protocol: openai, model: {DEPLOYMENT}}}"
    (tmp_path / "connections" / "phi3_endpoint.yml").write_text(
        f"name: phi3_endpoint\ntype: custom\nconfigs: {configs}\nsecrets: {{key: '${{env:PHI3_KEY}}'}}\n"
    )
    monkeypatch.setenv("PHI3_KEY", KEY)
    return tmp_path


def batch_run(project: Path, endpoint: FaultEndpoint, monkeypatch: pytest.MonkeyPatch, *flags: str) -> RunFolder:
    monkeypatch.setenv("PHI3_ENDPOINT", f"{endpoint.base_url}/openai/v1")
    phi3flow("batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--name", "run", *flags, cwd=project)
    return RunFolder(project / ".runs" / "run")


def test_the_documents_teacher_gets_its_system_message_its_examples_and_the_question(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The few-shot prompt of Microsoft's tutorial, as a variant: the messages are its list, and tokens are counted."""
    write_lines(project / "lines.jsonl", [{"question": "Does Azure OpenAI support customer managed keys?"}])
    with FaultEndpoint(key=KEY) as endpoint:
        run = batch_run(project, endpoint, monkeypatch, "--variant", "few_shot")
        [request] = [request for request in endpoint.requests if request.body]
    assert request.path == "/openai/v1/chat/completions"
    assert request.json == {
        "model": DEPLOYMENT,
        "messages": [
            {"role": "system", "content": "You are an AI assistant that helps people find information."},
            {"role": "user", "content": "Who wrote Pride and Prejudice?"},
            {"role": "assistant", "content": "Jane Austen wrote Pride and Prejudice. It appeared in 1813."},
            {"role": "user", "content": "What did I have for breakfast?"},
            {"role": "assistant", "content": "I cannot know that. You have not told me."},
            {"role": "user", "content": "Does Azure OpenAI support customer managed keys?"},
        ],
        "temperature": 0.7,
        "max_tokens": 128,
    }
    [result] = run.results()
    assert result.usage is not None
    sent = sum(len(message["content"].split()) for message in request.messages)
    assert (result.usage.prompt_tokens, result.usage.completion_tokens, result.usage.counted_by) == (
        sent,
        8,
        "endpoint",
    )


def test_lines_that_content_safety_blocks_for_one_reason_are_one_kind_of_failure(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count()

    def script(request: Request) -> Reply | None:
        return None if request.question == "fine" else prompt_blocked(next(numbers), hate=HATE)

    write_lines(project / "lines.jsonl", ({"question": text} for text in ("one", "two", "fine", "three")))
    with FaultEndpoint(script) as endpoint:
        run = batch_run(project, endpoint, monkeypatch, "--max-retries", "3")
        assert len([request for request in endpoint.requests if request.body]) == 4
    [failure] = view_run(run).failures
    assert (failure.count, failure.type, failure.status_code) == (3, "EndpointError", 400)
    assert failure.message.endswith("content safety blocked the question (hate: high)")


CONNECTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "open_ai": ("OpenAIConnection", {"base_url": "{url}/v1"}),
    "serverless": ("ServerlessConnection", {"api_base": "{url}"}),
    "azure_open_ai": (
        "AzureOpenAIConnection",
        {"api_base": "{url}", "api_type": "azure", "api_version": "2024-10-21"},
    ),
}


@pytest.mark.parametrize("type_", CONNECTIONS)
def test_an_llm_node_asks_through_each_of_prompt_flows_own_connections(type_: str, tmp_path: Path) -> None:
    class_name, values = CONNECTIONS[type_]
    write_llm_flow(tmp_path, type_)
    with FaultEndpoint(key=KEY) as endpoint:
        value = {name: text.format(url=endpoint.base_url) for name, text in values.items()} | {"api_key": KEY}
        connection = {"type": class_name, "value": value, "secret_keys": ["api_key"]}
        flow = load_flow(tmp_path / "flow", variant="phi3_openai")
        with open_flow(flow, connections=lambda _: connection, environment={}) as session:
            line = asyncio.run(session.exec_line({"question": "Who?"}, line_number=0))
        [request] = endpoint.requests
    assert (line.outputs["answer"], request.path) == ("echo: Who?", ROUTES[type_][1])
    assert line.usage == {"prompt_tokens": 11, "completion_tokens": 2}
