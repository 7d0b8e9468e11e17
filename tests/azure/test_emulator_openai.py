"""The emulated Azure OpenAI behaves as the service's data plane, seen through the unmodified openai package."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai.types import FileObject
from openai.types.chat import ChatCompletion
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent
from openai.types.fine_tuning.jobs import FineTuningJobCheckpoint

from tests.azure import openai_scenario
from tests.azure.arm_client import ArmClient
from tests.azure.documents import Documents
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import SUBSCRIPTION, World
from tests.azure.openai_account import (
    ACCOUNT,
    ACCOUNTS,
    ENDPOINT,
    SUBDOMAIN,
    Answers,
    account_body,
    client_of,
    deploy,
    fine_tune,
    make_account,
    refusal,
)
from tests.azure.openai_scenario import DEPLOYMENT, MODEL, examples, follow, submit, upload
from tests.azure.openapi import validate
from tests.azure.schema_check import SchemaCheck

pytestmark = pytest.mark.slow

SPECS = os.environ.get("AZURE_SPECS_DIR", "")
AUTHORING = (
    "azure-rest-api-specs/specification/cognitiveservices/data-plane/AzureOpenAI/authoring/preview/"
    "2024-05-01-preview/azureopenai.json"
)
HELLO: Any = [{"role": "user", "content": "Hello?"}]
FOUNDRY = f"{ACCOUNTS}/phi3flow-foundry"


class AzureFile(FileObject):
    """A file as Azure has it: with states that OpenAI's type does not know."""

    status: Literal["uploaded", "pending", "running", "processed", "error"]  # type: ignore[assignment]


class AzureJob(FineTuningJob):
    """A job as Azure has it: null where OpenAI's type has a text or a list, and any word for its state."""

    organization_id: str | None  # type: ignore[assignment]
    result_files: list[str] | None  # type: ignore[assignment]
    status: str  # type: ignore[assignment]


TYPES: dict[str, tuple[type[Any], str | None]] = {
    "file": (AzureFile, "File"),
    "fine_tuning.job": (AzureJob, "FineTuningJob"),
    "fine_tuning.job.event": (FineTuningJobEvent, "FineTuningJobEvent"),
    "fine_tuning.job.checkpoint": (FineTuningJobCheckpoint, "FineTuningJobCheckpoint"),
    "chat.completion": (ChatCompletion, None),
}


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    with AzureEmulator(tmp_path, World(unregistered=set(), operation_polls=1, poll_ms=1)) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        yield emulator


@pytest.fixture
def arm(azure: AzureEmulator) -> ArmClient:
    return ArmClient("2025-06-01")


@pytest.fixture
def key(arm: ArmClient) -> str:
    return make_account(arm)


@pytest.fixture
def client(key: str) -> openai.OpenAI:
    return client_of(ENDPOINT, key)


@pytest.fixture
def foundry(arm: ArmClient) -> openai.OpenAI:
    body = account_body("AIServices", "phi3flow-foundry")
    key = make_account(arm, path=FOUNDRY, body=body)
    return client_of("https://phi3flow-foundry.services.ai.azure.com/", key)


@pytest.mark.parametrize("transport", ["through the proxy", "at an address of its own"])
def test_whole_way_of_a_fine_tune(azure: AzureEmulator, arm: ArmClient, key: str, transport: str) -> None:
    endpoint = ENDPOINT if transport == "through the proxy" else azure.openai_endpoint(SUBDOMAIN)
    answers = Answers()
    openai_scenario.run(client_of(endpoint, key, answers=answers), lambda model: deploy(arm, model))
    rows = [row for body in answers.bodies for row in body.get("data", [body])]
    shown = [row for row in rows if "object" in row and "deleted" not in row]
    assert {row["object"] for row in shown} == set(TYPES)
    for row in shown:
        TYPES[row["object"]][0].model_validate(row, strict=True)
    if SPECS:
        validation = validate(azure.requests, Path(SPECS))
        assert validation.problems == []
        asked = {covered.operation for covered in validation.operations}
        assert {"FineTuning_Create", "FineTuning_GetEvents", "FineTuning_GetCheckpoints", "Files_List"} <= asked
        for row in shown:
            assert _problems(row) == []


def _problems(row: dict[str, Any]) -> list[str]:
    """Return what Microsoft's file says against an answer; it knows neither null nor what was added since."""
    name = TYPES[row["object"]][1]
    check = SchemaCheck(Documents(Path(SPECS)), exact=False)
    if name:
        known = {member: value for member, value in row.items() if value is not None}
        check.check({"$ref": f"{AUTHORING}#/definitions/{name}"}, known, "$")
    return check.problems


def test_older_routes_want_an_api_version_and_the_key_in_a_header_of_its_own(
    arm: ArmClient, key: str, client: openai.OpenAI
) -> None:
    older = openai.AzureOpenAI(azure_endpoint=ENDPOINT, api_key=key, api_version="2024-10-21", max_retries=0)
    assert [file.id for file in older.files.list()] == []
    deploy(arm, fine_tune(client))
    answer = older.chat.completions.create(model=DEPLOYMENT, messages=HELLO)
    assert answer.choices[0].message.content == "You said: Hello?"
    unknown = openai.AzureOpenAI(azure_endpoint=ENDPOINT, api_key=key, api_version="2025-06-01", max_retries=0)
    with pytest.raises(openai.NotFoundError, match="Resource not found"):
        unknown.files.list()
    bearer = openai.OpenAI(base_url=f"{ENDPOINT}openai/", api_key=key, default_query={"api-version": "2024-10-21"})
    with pytest.raises(openai.AuthenticationError, match="Access token is missing, invalid"):
        bearer.files.list()
    with pytest.raises(openai.BadRequestError, match="api-version query parameter is not allowed"):
        client.with_options(default_query={"api-version": "2024-10-21"}).files.list()


def test_wrong_keys_and_hosts_that_nobody_has(arm: ArmClient, key: str, client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client_of(ENDPOINT, "0" * 32).files.list()
    assert refusal(refused.value)[1] == "401"
    assert "Access denied due to invalid subscription key or wrong API endpoint." in refused.value.message
    with pytest.raises(openai.APIConnectionError):
        client_of("https://nobody.openai.azure.com/", key).files.list()
    keys = arm.post(f"{ACCOUNT}/listKeys")
    for host in (ENDPOINT, ENDPOINT.replace("openai.azure", "cognitiveservices.azure")):
        assert list(client_of(host, keys["key2"]).files.list()) == []
    arm.put(ACCOUNT, {"properties": {"disableLocalAuth": True}}, method="PATCH")
    with pytest.raises(openai.PermissionDeniedError, match="Key based authentication is disabled"):
        client.files.list()
    assert arm.refusal("POST", f"{ACCOUNT}/listKeys")[0] == 400


def test_token_needs_the_role_for_what_it_asks(azure: AzureEmulator, arm: ArmClient, key: str) -> None:
    model = fine_tune(client_of(ENDPOINT, key))
    deploy(arm, model)
    client = client_of(ENDPOINT, azure.identity.mint("https://cognitiveservices.azure.com"))
    with pytest.raises(openai.AuthenticationError, match="lacks the required data action") as refused:
        upload(client)
    assert refusal(refused.value)[1] == "PermissionDenied"
    azure.world.roles[ACCOUNT] = "Cognitive Services OpenAI User"
    assert client.chat.completions.create(model=DEPLOYMENT, messages=HELLO).choices
    assert client.fine_tuning.jobs.list().data
    message = "`Microsoft.CognitiveServices/accounts/OpenAI/fine-tunes/write` to perform `POST /openai/v1/fine_tuning"
    with pytest.raises(openai.AuthenticationError, match=message):
        submit(client, "file-1")
    for role in ("Cognitive Services OpenAI Contributor", "Foundry User"):
        azure.world.roles[ACCOUNT] = role
        fine_tune(client)
    azure.world.expired_tokens = True
    with pytest.raises(openai.AuthenticationError, match="or have expired"):
        client.files.list()
    azure.world.expired_tokens = False
    other = client_of(ENDPOINT, azure.identity.mint("https://management.azure.com"))
    with pytest.raises(openai.AuthenticationError, match="audience is incorrect"):
        other.files.list()


def test_files_are_processed_counted_and_refused(azure: AzureEmulator, client: openai.OpenAI) -> None:
    azure.world.openai_max_files = 2
    file = client.files.create(
        file=("a.JSONL", examples()), purpose="fine-tune", expires_after={"anchor": "created_at", "seconds": 1209600}
    )
    assert file.expires_at == file.created_at + 1209600
    assert [client.files.retrieve(file.id).status for _ in range(3)] == ["pending", "running", "processed"]
    azure.world.openai_file_failure = "The file is no JSON Lines."
    broken = client.files.create(file=("b.jsonl", b"\r\nno\r\n"), purpose="fine-tune")
    assert client.files.content(broken.id).read() == b"\r\nno\r\n"
    states = [client.files.retrieve(broken.id) for _ in range(3)]
    assert (str(states[-1].status), states[-1].status_details) == ("error", "The file is no JSON Lines.")
    for name, purpose, code in (("c.jsonl", "fine-tune", "quotaExceeded"), ("c.csv", "fine-tune", "invalidPayload")):
        with pytest.raises(openai.BadRequestError) as refused:
            client.files.create(file=(name, examples()), purpose=purpose)  # type: ignore[arg-type]
        assert refusal(refused.value)[1] == code
    client.files.delete(broken.id)
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(broken.id)
    azure.world.openai_max_file_bytes = 10
    with pytest.raises(openai.APIStatusError, match="a file may have 10"):
        upload(client)
    azure.world.openai_max_file_bytes, azure.world.openai_max_total_bytes = 10**6, len(examples()) + 1
    with pytest.raises(openai.BadRequestError, match="bytes together"):
        upload(client)


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        ({"model": "gpt-9"}, "notFound", "'gpt-9' does not exist"),
        ({"model": "gpt-5-mini-2025-08-07"}, "invalidPayload", "does not support fine-tuning"),
        ({"extra_body": {"trainingType": None}}, "invalidPayload", "None is none of standard"),
        ({"extra_body": {"trainingType": "Spot"}}, "invalidPayload", "'Spot' is none of standard"),
        ({"model": "gpt-oss-20b"}, "invalidPayload", "does not support fine-tuning"),
        ({"training_file": "file-1"}, "notFound", "'file-1' was not found"),
        ({"validation_file": "file-1"}, "notFound", "'file-1' was not found"),
        ({"suffix": "gpt-4.1"}, "invalidPayload", "letters, digits, hyphens and underscores"),
        ({"suffix": "a" * 19}, "invalidPayload", "up to 18"),
        ({"seed": -1}, "invalidPayload", "seed must be"),
        ({"method": {"type": "reinforcement"}}, "invalidPayload", "'reinforcement' is not supported"),
        ({"hyperparameters": {"n_epochs": 11}}, "invalidPayload", "'n_epochs' must be between 1 and 10, not 11"),
        ({"hyperparameters": {"batch_size": 257}}, "invalidPayload", "between 1 and 256"),
        ({"hyperparameters": {"learning_rate_multiplier": 10.5}}, "invalidPayload", "between 0 and 10"),
        ({"hyperparameters": {"warmup": 1}}, "invalidPayload", "'warmup' is not supported"),
        ({"metadata": {str(place): "" for place in range(17)}}, "invalidPayload", "up to 16"),
        ({"extra_body": {"trainingtype": "Standard"}}, "invalidPayload", "argument supplied: trainingtype"),
    ],
)
def test_job_that_cannot_be_is_refused(
    client: openai.OpenAI, settings: dict[str, Any], code: str, message: str
) -> None:
    file = upload(client)
    with pytest.raises(openai.APIStatusError, match=message) as refused:
        submit(client, **{"training_file": file, **settings})
    assert refusal(refused.value)[1] == code


def test_job_without_a_training_type_is_told_of_its_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.fine_tuning.jobs.create(model=MODEL, training_file=upload(client))
    assert refusal(refused.value)[1:] == (
        "invalidPayload",
        "The specified base model does not support fine-tuning.",
    )


def test_file_of_a_job_must_be_processed_and_stays_while_it_is_read(client: openai.OpenAI) -> None:
    file = client.files.create(file=("a.jsonl", examples()), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="must be processed"):
        submit(client, file.id)
    other = client.files.create(file=("a.jsonl", examples()), purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="has the purpose user_data"):
        submit(client, other.id)
    training = upload(client)
    job = submit(client, training)
    with pytest.raises(openai.ConflictError):
        client.files.delete(training)
    client.fine_tuning.jobs.cancel(job.id)
    client.files.delete(training)


def test_retired_models_are_trained_by_existing_customers_only(azure: AzureEmulator, client: openai.OpenAI) -> None:
    dpo: Any = {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.1}}}
    assert submit(client, upload(client), method=dpo).method.type == "dpo"
    azure.world.openai_existing_customer = False
    for model in (MODEL, "gpt-4o-mini-2024-07-18"):
        with pytest.raises(openai.BadRequestError, match="by existing customers only"):
            submit(client, upload(client), model=model)


@pytest.mark.parametrize("model", ["gpt-oss-20b", "Ministral-3B", "Qwen-32B", "Llama-3.3-70B-Instruct"])
def test_new_customers_train_open_models_on_foundry_resources(
    azure: AzureEmulator, foundry: openai.OpenAI, model: str
) -> None:
    azure.world.openai_existing_customer = False
    file = upload(foundry)
    for training_type, shown in (("GlobalStandard", "globalStandard"), ("DataZone", "dataZone")):
        job = submit(foundry, file, model=model, extra_body={"trainingType": training_type})
        assert (job.trainingType, follow(foundry, job.id)[-1]) == (shown, "succeeded")
    with pytest.raises(openai.BadRequestError, match="does not support fine-tuning"):
        submit(foundry, file, model=model, extra_body={"trainingType": "Standard"})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (examples()[3:], "byte-order mark"),
        (examples(9), "has 9 examples; at least 10 are required"),
        (examples(question="What is {} " + "and " * 90 + "?"), "line 1: the example has 10"),
        (examples() + b"no\n", "line 13: is no JSON object"),
        (examples() + json.dumps({"messages": HELLO}).encode(), "line 13: the last message must be an assistant's"),
    ],
)
def test_data_that_does_not_do_fails_its_job(
    azure: AzureEmulator, client: openai.OpenAI, content: bytes, message: str
) -> None:
    azure.world.openai_example_tokens = 90
    job = submit(client, upload(client, content))
    assert follow(client, job.id) == ["pending", "failed"]
    error = client.fine_tuning.jobs.retrieve(job.id).error
    assert error is not None
    assert error.code == "jsonlValidationFailed"
    assert message in error.message


def test_jobs_fail_as_the_service_shows_it(azure: AzureEmulator, client: openai.OpenAI) -> None:
    failed = partial(_failure, client)
    azure.world.openai_data_filtered = {"self_harm", "hate_fairness"}
    assert failed() == (
        "contentFilter",
        "The provided training data failed RAI checks for harm types: [hate_fairness, self_harm]. Please fix the data "
        "and try again.",
    )
    azure.world.openai_data_filtered = set()
    azure.world.openai_job_failure = "The cluster is gone."
    assert failed() == ("internalFailure", "The cluster is gone.")


def _failure(client: openai.OpenAI) -> tuple[str, str]:
    job = submit(client, upload(client))
    assert follow(client, job.id)[-1] == "failed"
    error = client.fine_tuning.jobs.retrieve(job.id).error
    assert error is not None
    return error.code, error.message


def test_state_that_no_document_names_passes(azure: AzureEmulator, client: openai.OpenAI) -> None:
    azure.world.openai_strange_status = "warming"
    job = submit(client, upload(client))
    assert follow(client, job.id) == ["pending", "warming", "running", "succeeded"]


def test_results_are_spelled_otherwise_or_gone(azure: AzureEmulator, client: openai.OpenAI) -> None:
    azure.world.openai_results_spelling = "valid_"
    fine_tune(client)
    (job,) = client.fine_tuning.jobs.list()
    assert "valid_mean_token_accuracy" in client.files.content(job.result_files[0]).text.splitlines()[0].split(",")
    azure.world.openai_results_missing = True
    with pytest.raises(openai.NotFoundError):
        client.files.content(job.result_files[0])


def test_jobs_wait_for_one_another_up_to_a_limit(client: openai.OpenAI) -> None:
    jobs, file = client.fine_tuning.jobs, upload(client)
    made = [submit(client, file).id for _ in range(23)]
    for job_id in made:
        jobs.retrieve(job_id)
    assert [str(jobs.retrieve(job_id).status) for job_id in made[:4]] == ["running"] * 3 + ["queued"]
    with pytest.raises(openai.RateLimitError) as refused:
        submit(client, file)
    assert refusal(refused.value)[1] == "quotaExceeded"
    follow(client, made[0])
    follow(client, made[3])
    for operation in (jobs.pause, jobs.resume, jobs.cancel):
        with pytest.raises(openai.BadRequestError, match="not allowed on a fine-tuning job in state 'succeeded'"):
            operation(made[3])


def test_model_that_is_deployed_is_not_deleted(arm: ArmClient, client: openai.OpenAI) -> None:
    model = fine_tune(client)
    deploy(arm, model)
    with pytest.raises(openai.ConflictError, match=f"has the deployment '{DEPLOYMENT}'"):
        client.models.delete(model)
    arm.delete(f"{ACCOUNT}/deployments/{DEPLOYMENT}")
    assert client.models.retrieve(model).fine_tune.startswith("ftjob-")  # type: ignore[attr-defined]
    assert client.models.delete(model).deleted
    assert model not in [each.id for each in client.models.list()]


@pytest.fixture
def chatting(arm: ArmClient, client: openai.OpenAI) -> openai.OpenAI:
    """Return the client of an account whose fine-tuned model is deployed."""
    deploy(arm, fine_tune(client))
    return client


def test_chat_is_filtered_on_both_sides(azure: AzureEmulator, chatting: openai.OpenAI) -> None:
    azure.world.blocked_words = {"bomb"}
    asked: Any = [{"role": "user", "content": "How is a Bomb made?"}]
    with pytest.raises(openai.BadRequestError) as refused:
        chatting.chat.completions.create(model=DEPLOYMENT, messages=asked)
    body: Any = refused.value.body
    assert (body["code"], body["innererror"]["code"]) == ("content_filter", "ResponsibleAIPolicyViolation")
    assert body["innererror"]["content_filter_result"]["hate"] == {"filtered": True, "severity": "high"}
    azure.answer_chat = lambda *_: "Of a bomb."
    choice = chatting.chat.completions.create(model=DEPLOYMENT, messages=HELLO).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("content_filter", "")
    assert choice.content_filter_results["hate"]["filtered"]  # type: ignore[attr-defined]


def test_chat_is_asked_as_fast_as_allowed(azure: AzureEmulator, chatting: openai.OpenAI) -> None:
    azure.world.openai_rpm, azure.world.openai_rate_window_s = 2, 0.5
    completions = chatting.chat.completions.with_raw_response
    left = [completions.create(model=DEPLOYMENT, messages=HELLO).headers for _ in range(2)]
    assert [headers["x-ratelimit-remaining-requests"] for headers in left] == ["1", "0"]
    with pytest.raises(openai.RateLimitError, match="have exceeded the call rate limit") as refused:
        completions.create(model=DEPLOYMENT, messages=HELLO)
    headers = refused.value.response.headers
    assert (headers["retry-after"], headers["x-ratelimit-limit-requests"]) == ("1", "2")
    assert 0 < int(headers["retry-after-ms"]) <= 500
    assert chatting.with_options(max_retries=2).chat.completions.create(model=DEPLOYMENT, messages=HELLO).choices


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"messages": []}, "'messages' must be a list"),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "expected a string, got None"),
        ({"temperature": 3}, "3 is not between 0 and 2"),
        ({"extra_body": {"max_new_tokens": 5}}, "argument supplied: max_new_tokens"),
        ({"top_logprobs": 2}, "only allowed when 'logprobs' is enabled"),
        ({"model": ""}, "you must provide a model parameter"),
    ],
)
def test_chat_that_cannot_be_is_refused(chatting: openai.OpenAI, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message.replace("[", r"\[")):
        chatting.chat.completions.create(**{"model": DEPLOYMENT, "messages": HELLO, **settings})


def test_chat_is_answered_as_the_deployment_can(azure: AzureEmulator, arm: ArmClient, chatting: openai.OpenAI) -> None:
    create = partial(chatting.chat.completions.create, messages=HELLO)
    with pytest.raises(openai.NotFoundError) as refused:
        create(model="other")
    assert refusal(refused.value)[1] == "DeploymentNotFound"
    cut = create(model=DEPLOYMENT, max_tokens=2, n=2)
    assert [(each.finish_reason, each.message.content) for each in cut.choices] == [("length", "You said:")] * 2
    azure.world.openai_logprobs = False
    with pytest.raises(openai.BadRequestError, match="does not support the following parameters: logprobs"):
        create(model=DEPLOYMENT, logprobs=True)
    deploy(arm, "gpt-5-mini", name="judge", version="2025-08-07")
    assert create(model="judge", max_completion_tokens=9).model == "gpt-5-mini-2025-08-07"
    for settings in ({"max_tokens": 9}, {"temperature": 0}):
        with pytest.raises(openai.BadRequestError, match="with this model"):
            create(model="judge", **settings)


def test_project_of_a_foundry_resource_is_asked_with_a_token_of_its_own(
    azure: AzureEmulator, foundry: openai.OpenAI
) -> None:
    azure.world.roles[f"/subscriptions/{SUBSCRIPTION}"] = "Foundry User"
    project = "https://phi3flow-foundry.services.ai.azure.com/api/projects/phi3flow/"
    upload(foundry)
    assert len(list(client_of(project, azure.identity.mint("https://ai.azure.com")).files.list())) == 1
    with pytest.raises(openai.AuthenticationError, match="audience is incorrect"):
        client_of(project, azure.identity.mint("https://cognitiveservices.azure.com")).files.list()
