"""What every backend promises (``phi3flow.backends.backend``), held against each one that ``--backend`` knows.

A backend without a place to be tried in (tests/contract/backend_grounds.py) fails the first test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from pathlib import Path

import pytest

from phi3flow.backends.backend import (
    DeletionRequest,
    FineTuneRequest,
    JobResult,
    Part,
    PlannedDeletion,
    PlannedDeployment,
    PlannedJob,
    Progress,
)
from phi3flow.backends.choice import BACKENDS, DEFAULT_BACKEND, open_backend
from phi3flow.cli.main import main
from phi3flow.errors import ConfigError, DatasetError
from phi3flow.project.state import EndpointState, JobState, ModelState
from tests.contract.backend_grounds import GROUNDS, Ground

CANCELED = ("CancelRequested", "Canceled")


def test_every_backend_is_tried_and_the_default_is_one() -> None:
    assert GROUNDS.keys() == BACKENDS.keys()
    assert DEFAULT_BACKEND in BACKENDS


@pytest.fixture(scope="module", params=list(GROUNDS))
def ground(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A project for each backend, which all tests share; those that end something come last."""
    folder = tmp_path_factory.mktemp(request.param)
    with ExitStack() as held:
        patch = held.enter_context(pytest.MonkeyPatch.context())
        (folder / "azure").mkdir()
        patch.chdir(folder)
        ground = GROUNDS[request.param](folder, held)
        held.callback(_end_servers, ground)
        yield ground


def _end_servers(ground: Ground) -> None:
    for endpoint in {endpoint.endpoint for endpoint in ground.noted.endpoints()}:
        ground.backend.undeploy(PlannedDeletion((Part("endpoint", endpoint),)))


@dataclass(frozen=True)
class Trained:
    """A fine-tune from its plan to its end, with what was noted of it once it was submitted."""

    planned: PlannedJob
    submitted: JobState
    noted: list[JobState]
    reports: list[Progress]
    result: JobResult


@pytest.fixture(scope="module")
def trained(ground: Ground) -> Trained:
    """A fine-tune that has completed."""
    backend, reports = ground.backend, list[Progress]()
    planned = backend.plan(ground.fine_tune)
    submitted = backend.submit(planned)
    noted = ground.noted.jobs()
    return Trained(planned, submitted, noted, reports, backend.follow(submitted.name, on_progress=reports.append))


@pytest.fixture(scope="module")
def job(trained: Trained) -> str:
    """A job that has completed."""
    return trained.result.job


@pytest.fixture(scope="module")
def model(ground: Ground, job: str) -> str:
    """A registered model, as NAME:VERSION."""
    model = ground.backend.register(job, name=ground.model_name, flow_version="chat-1.0.0-1a2b3c4d")
    return f"{model.name}:{model.version}"


@dataclass(frozen=True)
class Deployed:
    """A deployment from its plan to its answer, with what was told meanwhile."""

    planned: PlannedDeployment
    endpoint: EndpointState
    notes: list[str]


@pytest.fixture(scope="module")
def deployed(ground: Ground, model: str) -> Deployed:
    """A deployment that answers."""
    backend, notes = ground.backend, list[str]()
    planned = backend.plan_deployment(replace(ground.deployment, model=model))
    return Deployed(planned, backend.deploy(planned, on_note=notes.append), notes)


@pytest.fixture(scope="module")
def endpoint(deployed: Deployed) -> str:
    """An endpoint that answers."""
    return deployed.endpoint.endpoint


def test_it_has_its_name_and_opening_it_asks_nothing(ground: Ground, tmp_path: Path) -> None:
    assert open_backend(ground.name, tmp_path).name == ground.name
    assert list(tmp_path.iterdir()) == []


def test_another_name_is_none() -> None:
    with pytest.raises(ConfigError, match="there is no backend nosuch; there are local, "):
        open_backend("nosuch")


def test_a_plan_changes_nothing_and_is_frozen(ground: Ground) -> None:
    before = ground.noted.jobs()
    planned = ground.backend.plan(ground.fine_tune)
    assert planned.name
    assert planned.model
    assert ground.backend.plan(ground.fine_tune).name == planned.name
    assert ground.noted.jobs() == before
    with pytest.raises(FrozenInstanceError):
        planned.status = "Completed"  # type: ignore[misc]


def test_another_training_is_another_job(ground: Ground) -> None:
    first, second = (ground.backend.plan(replace(ground.fine_tune, seed=seed)).name for seed in (0, 1))
    assert first != second


def test_a_malformed_file_is_refused_before_anything_is_done(ground: Ground, tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"messages": []}\n', encoding="utf-8")
    with pytest.raises(DatasetError, match=r"train\.jsonl:1"):
        ground.backend.plan(replace(ground.fine_tune, train=file))


def test_what_it_does_not_follow_is_refused_by_the_flags_name(ground: Ground) -> None:
    for request in ground.refused:
        base = ground.fine_tune if isinstance(request, FineTuneRequest) else ground.deployment
        names = [field.name for field in fields(request)]
        (changed,) = [name for name in names if getattr(request, name) != getattr(base, name)]
        plan = ground.backend.plan if isinstance(request, FineTuneRequest) else ground.backend.plan_deployment
        with pytest.raises(ConfigError, match=f"^--{changed.replace('_', '-')} ") as refusal:
            plan(request)  # type: ignore[operator]
        assert refusal.value.exit_code == 2


def test_a_submitted_job_is_noted_and_followed_to_its_end(ground: Ground, trained: Trained) -> None:
    planned, submitted, result = trained.planned, trained.submitted, trained.result
    assert planned.status is None
    assert (submitted.backend, submitted.status) == (ground.name, "NotStarted")
    assert (submitted.name == planned.name) == ground.names_jobs
    assert trained.noted == [submitted]
    assert trained.reports
    assert (result.backend, result.job, result.status) == (ground.name, submitted.name, "Completed")
    assert result.output == submitted.output
    assert result.metrics
    assert result.summary.startswith(f"{submitted.name}: ")
    dumped = {"backend", "job", "status", "output", "metrics", "checkpoints", "training"}
    assert set(result.model_dump()) == dumped
    assert [noted.status for noted in ground.noted.jobs() if noted.name == submitted.name] == ["Completed"]


def test_what_a_job_costs_is_text_or_nothing(trained: Trained) -> None:
    assert trained.planned.cost is None or trained.planned.cost()


def test_the_same_request_is_the_same_job_and_is_not_run_again(ground: Ground, job: str) -> None:
    backend = ground.backend
    planned = backend.plan(ground.fine_tune)
    assert (planned.name, planned.status, planned.cost) == (job, "Completed", None)
    submitted = backend.submit(planned)
    assert (submitted.name, submitted.status) == (job, "Completed")
    assert backend.follow(job, on_progress=lambda _: None).status == "Completed"
    assert [noted.name for noted in ground.noted.jobs()].count(job) == 1


def test_a_job_is_followed_by_its_name_alone(ground: Ground, job: str, trained: Trained) -> None:
    assert ground.backend.follow(job, on_progress=lambda _: None) == trained.result


def test_an_unknown_job_is_refused(ground: Ground) -> None:
    backend = ground.backend
    for act in (
        lambda: backend.follow("nosuch", on_progress=lambda _: None),
        lambda: backend.cancel("nosuch"),
        lambda: backend.register("nosuch", name=None, flow_version=None),
    ):
        with pytest.raises(ConfigError, match="nosuch"):
            act()


def test_a_job_that_has_ended_is_not_canceled(ground: Ground, job: str) -> None:
    canceled = ground.backend.cancel(job)
    assert (canceled.name, canceled.status) == (job, "Completed")


def test_a_job_that_goes_on_elsewhere_is_canceled_and_any_other_is_not(ground: Ground) -> None:
    backend = ground.backend
    submitted = backend.submit(backend.plan(replace(ground.fine_tune, seed=7)))
    if backend.jobs_run_in is None:
        with pytest.raises(ConfigError, match="runs in the process that began it"):
            ground.backend.cancel(submitted.name)
        return
    canceled = ground.backend.cancel(submitted.name)
    assert canceled.name == submitted.name
    assert canceled.status in CANCELED
    assert canceled in ground.noted.jobs()
    assert ground.backend.cancel(submitted.name).status in CANCELED
    ground.backend.status()
    again = ground.backend.plan(replace(ground.fine_tune, seed=7))
    assert again.status is None
    assert (again.name == f"{submitted.name}-2") == ground.names_jobs


def test_a_model_is_registered_once_and_noted(ground: Ground, job: str, model: str) -> None:
    again = ground.backend.register(job, name=ground.model_name, flow_version=None)
    assert f"{again.name}:{again.version}" == model
    assert again.backend == ground.name
    (noted,) = (noted for noted in ground.noted.models() if noted.name == again.name)
    assert (noted.version, noted.source) == (again.version, again.source)


def test_a_model_has_the_name_that_it_is_given_or_a_name_is_refused(ground: Ground, model: str, job: str) -> None:
    if ground.model_name:
        assert model.startswith(f"{ground.model_name}:")
        return
    with pytest.raises(ConfigError, match=r"^--name "):
        ground.backend.register(job, name="support", flow_version=None)


def passing_model(ground: Ground, job: str) -> ModelState:
    """Register a model to be deleted: the job's under another name, or another job's where the service names it."""
    if ground.model_name:
        return ground.backend.register(job, name="passing", flow_version=None)
    passing = ground.backend.submit(ground.backend.plan(replace(ground.fine_tune, suffix="passing"))).name
    ground.backend.follow(passing, on_progress=lambda _: None)
    return ground.backend.register(passing, name=None, flow_version=None)


def test_a_model_is_deleted_and_forgotten(ground: Ground, job: str) -> None:
    model = passing_model(ground, job)
    reference = f"{model.name}:{model.version}"
    request = DeletionRequest(model=reference)
    planned = ground.backend.plan_deletion(request)
    assert planned
    assert planned.label == f"model {reference}"
    ground.backend.undeploy(planned)
    assert model.name not in [noted.name for noted in ground.noted.models()]
    with pytest.raises(ConfigError, match=reference):
        ground.backend.plan_deletion(request)
    with pytest.raises(ConfigError, match=model.name):
        ground.backend.plan_deployment(replace(ground.deployment, model=reference))


def test_a_planned_deployment_is_frozen_and_of_the_model_registered_last(ground: Ground, model: str) -> None:
    before = ground.noted.endpoints()
    planned = ground.backend.plan_deployment(replace(ground.deployment, name="another"))
    assert (planned.endpoint, planned.exists) == ("another", False)
    assert planned.cost is None or planned.cost()
    assert ground.noted.endpoints() == before
    with pytest.raises(FrozenInstanceError):
        planned.exists = True  # type: ignore[misc]


def test_a_deployment_answers_with_the_key_that_its_backend_tells(ground: Ground, deployed: Deployed) -> None:
    planned, endpoint = deployed.planned, deployed.endpoint
    assert deployed.notes
    assert (endpoint.backend, endpoint.endpoint, endpoint.deployment) == (
        ground.name,
        planned.endpoint,
        planned.deployment,
    )
    assert (endpoint.model, endpoint.traffic) == (planned.model, 100)
    assert ground.noted.endpoints() == [endpoint]
    assert planned_deletion(ground, None) == endpoint.endpoint
    access = ground.backend.connection(endpoint.endpoint)
    assert access.url == endpoint.url
    assert ground.ask(endpoint, access.key.get_secret_value() if access.key else None)


def test_it_is_not_deployed_twice(ground: Ground, model: str, endpoint: str) -> None:
    backend = ground.backend
    request = replace(ground.deployment, model=model)
    if not ground.deploys_again:
        with pytest.raises(ConfigError, match=endpoint):
            backend.plan_deployment(request)
        return
    planned = backend.plan_deployment(request)
    assert (planned.exists, planned.cost) == (True, None)
    before = ground.noted.endpoints()
    again = backend.deploy(planned, on_note=lambda _: None)
    assert ground.noted.endpoints() == [again]
    assert before == [again.model_copy(update={"created_at": before[0].created_at})]


def test_status_tells_how_a_deployment_fares(ground: Ground, endpoint: str) -> None:
    (status,) = ground.backend.status()
    assert (status.backend, status.endpoint, status.state) == (ground.name, endpoint, "running")
    assert status.detail == ground.running_detail or re.fullmatch(str(ground.running_detail), str(status.detail))


def planned_deletion(ground: Ground, name: str | None) -> str | None:
    planned = ground.backend.plan_deletion(DeletionRequest(name))
    return planned.named("endpoint") if planned else None


def test_an_unknown_endpoint_is_refused(ground: Ground, endpoint: str) -> None:
    for act in (lambda: planned_deletion(ground, "nosuch"), lambda: ground.backend.connection("nosuch")):
        with pytest.raises(ConfigError, match="nosuch"):
            act()
    assert planned_deletion(ground, endpoint) == endpoint


def test_what_is_undeployed_is_gone_and_forgotten(ground: Ground, endpoint: str) -> None:
    """Last of the deployments' tests, since it ends what they look at."""
    planned = ground.backend.plan_deletion(DeletionRequest(endpoint))
    assert planned
    ground.backend.undeploy(planned)
    assert ground.noted.endpoints() == []
    assert planned_deletion(ground, None) is None
    assert ground.backend.status() == []
    with pytest.raises(ConfigError, match=endpoint):
        planned_deletion(ground, endpoint)


def test_the_verbs_take_the_backends_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("fine-tune", "register", "deploy", "undeploy", "status", "cancel"):
        assert main([verb, "--backend", "nosuch"]) == 2
        said = capsys.readouterr().err
        assert all(f"'{name}'" in said for name in ("nosuch", *BACKENDS))


def test_this_machine_imports_nothing_of_azures() -> None:
    program = (
        "import sys; from phi3flow.backends.choice import open_backend; open_backend('local').status(); "
        "sys.exit(any(name.partition('.')[0] in ('azure', 'mlflow', 'torch') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], env=os.environ).returncode == 0
