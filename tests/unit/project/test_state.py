"""The part of state.json that one backend made: noted, replaced and forgotten without touching the others'."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from phi3flow.project import state
from phi3flow.project.state import BackendState, EndpointState, JobState, ModelState

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def endpoint(backend: str, name: str, deployment: str) -> EndpointState:
    return EndpointState(
        backend=backend, endpoint=name, deployment=deployment, url="http://h/score", model="m", created_at=NOW
    )


def test_a_job_that_is_noted_again_stands_last_and_once(file: Path) -> None:
    here, there = BackendState("local", file), BackendState("azureml", file)
    for backend, name, status in ((here, "a", "Running"), (there, "a", "Failed"), (here, "a", "Completed")):
        backend.note_job(JobState(backend=backend.backend, name=name, status=status, created_at=NOW))
    assert [(job.backend, job.status) for job in state.load(file).jobs] == [
        ("azureml", "Failed"),
        ("local", "Completed"),
    ]
    assert [job.status for job in here.jobs()] == ["Completed"]
    assert state.load(file).backends == {"local", "azureml"}
    here.forget_job("a")
    assert [job.backend for job in state.load(file).jobs] == ["azureml"]


def test_a_version_of_a_model_is_forgotten_alone(file: Path) -> None:
    here, there = BackendState("local", file), BackendState("azureml", file)
    for backend, version in ((here, "1"), (here, "2"), (there, "1")):
        model = ModelState(backend=backend.backend, name="m", version=version, source="s", created_at=NOW)
        backend.note_model(model)
    here.forget_model("m", "1")
    assert [model.version for model in here.models()] == ["2"]
    assert [model.version for model in there.models()] == ["1"]


def test_a_new_deployment_changes_its_neighbours_traffic_only(file: Path) -> None:
    here, there = BackendState("local", file), BackendState("azureml", file)
    here.note_endpoint(endpoint("local", "e", "first"), traffic={"first": 100})
    there.note_endpoint(endpoint("azureml", "e", "first"), traffic={"first": 100})
    there.note_endpoint(endpoint("azureml", "other", "first"), traffic={"first": 100})
    there.note_endpoint(endpoint("azureml", "e", "second"), traffic={"first": 90, "second": 10})
    assert [(row.backend, row.endpoint, row.deployment, row.traffic) for row in state.load(file).endpoints] == [
        ("local", "e", "first", 100),
        ("azureml", "e", "first", 90),
        ("azureml", "other", "first", 100),
        ("azureml", "e", "second", 100),
    ]
    there.forget_endpoint("e", "first")
    assert [row.deployment for row in there.endpoints() if row.endpoint == "e"] == ["second"]
    there.forget_endpoint("e")
    assert [row.endpoint for row in there.endpoints()] == ["other"]
    assert [row.endpoint for row in here.endpoints()] == ["e"]
