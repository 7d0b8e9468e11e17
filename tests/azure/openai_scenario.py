"""The whole way of a fine-tune through the unmodified openai package, told to whoever tests with it.

It imports nothing but openai and the standard library, so that a Python with another openai can run it:
`python openai_scenario.py` takes it against the account that OPENAI_BASE_URL and OPENAI_API_KEY name, and deploys with
ARM_TOKEN at the address ARM_ACCOUNT (`tests.azure.check_openai` sets them).
"""

from __future__ import annotations

import csv
import io
import json
import os
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import openai

MODEL = "gpt-4.1-mini-2025-04-14"
DEPLOYMENT = "tuned"
_VERSION = "2025-06-01"
_BOM = b"\xef\xbb\xbf"
_WAIT_S = 0.01
_LOOKS = 50
Deploy = Callable[[str], None]


def examples(count: int = 12, *, question: str = "What is {}?") -> bytes:
    """Return a training file, as Azure wants it."""
    turns = [(question.format(place), f"{place}, I guess.") for place in range(count)]
    lines = [
        {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}
        for asked, answer in turns
    ]
    return _BOM + "".join(json.dumps(line) + "\n" for line in lines).encode()


def upload(client: openai.OpenAI, content: bytes | None = None, *, name: str = "training_set.jsonl") -> str:
    """Upload a file for fine-tuning, wait until it is processed, and return its id."""
    file = client.files.create(file=(name, examples() if content is None else content), purpose="fine-tune")
    assert str(file.status) == "pending"
    _wait(lambda: client.files.retrieve(file.id).status, {"processed"})
    return file.id


def submit(client: openai.OpenAI, training_file: str, **settings: Any) -> Any:
    """Create a job that trains on a file."""
    body = {"trainingType": "GlobalStandard", **settings.pop("extra_body", {})}
    wanted = {"model": MODEL, "training_file": training_file, **settings}
    return client.fine_tuning.jobs.create(**wanted, extra_body=body)


def follow(client: openai.OpenAI, job_id: str) -> list[str]:
    """Look at a job until it has ended, and return the states that it was seen in."""
    return _wait(lambda: client.fine_tuning.jobs.retrieve(job_id).status, {"succeeded", "failed", "cancelled"})


def _wait(look: Callable[[], str | None], ended: set[str]) -> list[str]:
    states: list[str] = []
    for _ in range(_LOOKS):
        state = str(look())
        states += [] if states[-1:] == [state] else [state]
        if state in ended:
            return states
        time.sleep(_WAIT_S)
    raise AssertionError(f"still {states[-1]} after {_LOOKS} looks")


def run(client: openai.OpenAI, deploy: Deploy) -> None:
    """Upload, train, follow, deploy, chat and delete; what comes back is held against what Azure shows."""
    training, validation = upload(client), upload(client, name="validation_set.jsonl")
    assert client.files.content(training).read() == examples()
    assert [file.id for file in client.files.list(limit=1, purpose="fine-tune")] == [validation, training]
    model = _train(client, training, validation)
    _stop_and_go(client, training)
    deploy(model)
    _chat(client, model)
    _delete(client, training)


def _train(client: openai.OpenAI, training: str, validation: str) -> str:
    hyperparameters: Any = {"n_epochs": 4, "batch_size": 2}
    method: Any = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    job = submit(client, training, validation_file=validation, method=method, suffix="phi3flow", seed=105)
    assert (job.status, job.suffix, job.trainingType) == ("pending", "phi3flow", "globalStandard")
    assert (job.organization_id, job.result_files, job.fine_tuned_model, job.trained_tokens) == (None,) * 4
    assert (job.hyperparameters.n_epochs, job.hyperparameters.learning_rate_multiplier) == (4, -1)
    assert follow(client, job.id) == ["pending", "running", "succeeded"]
    ended = client.fine_tuning.jobs.retrieve(job.id)
    assert ended.fine_tuned_model == f"{MODEL}.ft-{job.id.removeprefix('ftjob-')}-phi3flow"
    assert ended.finished_at
    assert ended.trained_tokens
    events = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=3)]
    assert events[0] == "Job succeeded."
    assert {f"Completed results file: {ended.result_files[0]}", "Model Evaluation Passed."} <= set(events)
    assert any(message.startswith("Step 24: training loss=") for message in events)
    kept = list(client.fine_tuning.jobs.checkpoints.list(job.id, limit=2))
    assert [checkpoint.step_number for checkpoint in kept] == [24, 18, 12]
    assert kept[0].fine_tuned_model_checkpoint == f"{ended.fine_tuned_model}:ckpt-step-24"
    assert kept[0].metrics.full_valid_mean_token_accuracy
    rows = list(csv.DictReader(io.StringIO(client.files.content(ended.result_files[0]).text)))
    assert len(rows) == 24
    assert (rows[0]["valid_loss"], bool(rows[1]["validation_mean_token_accuracy"])) == ("", True)
    return ended.fine_tuned_model


def _stop_and_go(client: openai.OpenAI, training: str) -> None:
    jobs = client.fine_tuning.jobs
    job = submit(client, training)
    _wait(lambda: jobs.retrieve(job.id).status, {"running"})
    assert str(jobs.pause(job.id).status) == "paused"
    assert str(jobs.retrieve(job.id).status) == "paused"
    jobs.resume(job.id)
    assert follow(client, job.id)[-1] == "succeeded"
    other = submit(client, training)
    assert jobs.cancel(other.id).status == "cancelled"
    assert [each.id for each in jobs.list(limit=1)][:2] == [other.id, job.id]


def _chat(client: openai.OpenAI, model: str) -> None:
    messages: Any = [
        {"role": "system", "content": "Answer shortly."},
        {"role": "user", "content": "What is 1?"},
        {"role": "assistant", "content": "1, I guess."},
        {"role": "user", "content": "What is 2?"},
    ]
    answer = client.chat.completions.create(model=DEPLOYMENT, messages=messages, temperature=0, logprobs=True)
    assert answer.model == model
    assert answer.choices[0].message.content == "You said: What is 2?"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs
    assert answer.choices[0].logprobs.content
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def _delete(client: openai.OpenAI, training: str) -> None:
    jobs: list[Any] = list(client.fine_tuning.jobs.list())
    deployed = [job for job in jobs if job.suffix == "phi3flow"]
    assert _conflict(lambda: client.delete(f"/fine_tuning/jobs/{deployed[0].id}", cast_to=object)) == "conflict"
    for job in jobs:
        if job not in deployed:
            client.delete(f"/fine_tuning/jobs/{job.id}", cast_to=object)
    assert [job.id for job in client.fine_tuning.jobs.list()] == [deployed[0].id]
    assert client.files.delete(training).deleted


def _conflict(request: Callable[[], object]) -> str:
    """Return the code of what is refused."""
    try:
        request()
    except openai.ConflictError as error:
        return str(error.code)
    raise AssertionError("what conflicts was not refused")


def _deploy(model: str) -> None:
    """Deploy a model through the resource manager, with nothing but the standard library."""
    path = f"{os.environ['ARM_ACCOUNT']}/deployments/{DEPLOYMENT}?api-version={_VERSION}"
    body = {"sku": {"name": "Standard", "capacity": 1}, "properties": {"model": _described(model)}}
    state = _ask("PUT", path, body)["properties"]["provisioningState"]
    for _ in range(_LOOKS):
        if state == "Succeeded":
            return
        state = _ask("GET", path)["properties"]["provisioningState"]
    raise AssertionError(f"the deployment is still {state}")


def _ask(method: str, path: str, body: Any = None) -> Any:
    headers = {"Authorization": f"Bearer {os.environ['ARM_TOKEN']}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(path, content, headers, method=method)) as response:
        return json.load(response)


def _described(model: str) -> dict[str, str]:
    return {"format": "OpenAI", "name": model, "version": "1"}


if __name__ == "__main__":
    run(openai.OpenAI(max_retries=0), _deploy)
    sys.stdout.write(f"openai {openai.__version__}: all as it should be\n")
