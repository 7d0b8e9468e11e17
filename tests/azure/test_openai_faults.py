"""Every write of Azure OpenAI's verbs is refused, breaks or has its answer lost once, and nothing is made twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.azure.disturbances import Fault, Once, fail, reset, throttle
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.openai_journey import JOURNEY, left_in
from tests.azure.openai_project import MODEL, OpenAIProject

VERBS = ("prepare-data", "fine-tune", "register", "deploy base", "deploy", "undeploy base", "undeploy")


def throttle_briefly(request: Request) -> Reply:
    """Refuse for some milliseconds, as the newer header says."""
    error = {"code": "tooManyRequests", "message": "The request was throttled."}
    return Reply(429, {"error": error}, {"Retry-After": "60", "retry-after-ms": "20"})


def travel(folder: Path, disturb: Callable[[AzureEmulator], None]) -> dict[str, list[str]]:
    """Give the verbs in an Azure that is disturbed; return what there is after each."""
    return JOURNEY.travel(folder, VERBS, lambda azure, _: left_in(azure), before=["azure up"], disturb=disturb)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What the verbs leave where nothing disturbs them."""
    return travel(tmp_path_factory.mktemp("whole"), lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [throttle, fail, reset])
def test_each_write_of_every_verb_may_fail_once(
    tmp_path: Path, real_encodings: None, fault: Fault, whole: dict[str, list[str]]
) -> None:
    once = Once(fault)

    def disturb(azure: AzureEmulator) -> None:
        azure.fault = once

    assert travel(tmp_path, disturb) == whole
    assert len(once.seen) == 12


@pytest.mark.slow
def test_each_answer_to_a_write_of_every_verb_may_be_lost(
    tmp_path: Path, real_encodings: None, whole: dict[str, list[str]]
) -> None:
    def disturb(azure: AzureEmulator) -> None:
        azure.after_write = Once(reset)  # type: ignore[assignment]

    assert travel(tmp_path, disturb) == whole


@pytest.mark.slow
def test_a_job_and_files_whose_answers_are_lost_are_made_once(openai_project: OpenAIProject) -> None:
    openai_project.azure.after_write = Once(reset)  # type: ignore[assignment]
    assert openai_project.fine_tune("--seed", "1").returncode == 0
    assert [len(openai_project.posted(end)) for end in ("/openai/v1/files", "/fine_tuning/jobs")] == [2, 1]
    assert (len(openai_project.files), len(openai_project.jobs)) == (3, 1)


def test_a_cancellation_whose_answer_is_lost_is_one(openai_project: OpenAIProject) -> None:
    job = openai_project.told("fine-tune", "--model", MODEL, "--yes", "--detach")["job"]
    openai_project.azure.after_write = Once(reset)  # type: ignore[assignment]
    assert openai_project.told("cancel", "--yes")["status"] == "Canceled"
    assert openai_project.told("cancel", job, "--yes")["status"] == "Canceled"


def test_a_throttle_is_waited_out_as_long_as_it_asks(openai_project: OpenAIProject) -> None:
    openai_project.azure.fault = once = Once(throttle_briefly)
    assert openai_project.fine_tune().returncode == 0
    assert len(once.seen) == 3
    assert len(openai_project.jobs) == 1


@pytest.mark.slow
def test_looks_that_fail_are_tried_again(openai_project: OpenAIProject) -> None:
    seen: list[str] = []

    def fail_once(request: Request) -> Reply | None:
        if request.method != "GET" or not request.host.startswith("phi3flow-openai") or str(request) in seen:
            return None
        seen.append(str(request))
        return Reply(429, {"error": {"code": "429", "message": "Too fast."}}, {"retry-after-ms": "5"})

    openai_project.azure.fault = fail_once
    assert openai_project.fine_tune().returncode == 0
    assert len(seen) >= 8


@pytest.mark.slow
def test_a_service_that_fails_for_good_is_given_up_with_what_it_says(openai_project: OpenAIProject) -> None:
    def refuse_jobs(request: Request) -> Reply | None:
        return fail(request) if request.is_write and request.path.endswith("/fine_tuning/jobs") else None

    openai_project.azure.fault = refuse_jobs
    done = openai_project.fine_tune()
    assert done.returncode == 3
    assert "fine-tuning job: Encountered an internal server error" in done.stderr
    assert len(openai_project.posted("/fine_tuning/jobs")) == 7
