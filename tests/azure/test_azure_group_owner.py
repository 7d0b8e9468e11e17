"""Who owns a resource group and nothing else: what cannot be seen is said, and everything works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi3flow.engines.cloud.azureml import FlowJobs
from phi3flow.engines.cloud.place import FlowWork
from phi3flow.flows import load_flow
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import World
from tests.azure.journey import answer_rightly, make_project, take_all
from tests.azure.wrong_worlds import own_the_group
from tests.support.command_line import phi3flow
from tests.support.folders.pf_workspace import FLOW


@pytest.fixture
def azure(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    """A subscription whose providers somebody registered, and who made a group for the caller."""
    with AzureEmulator(tmp_path_factory.mktemp("azure"), World(unregistered=set())) as azure:
        for name, value in azure.environment.items():
            monkeypatch.setenv(name, value)
        own_the_group(azure)
        yield azure


def test_up_makes_everything_and_says_what_cannot_be_seen(azure: AzureEmulator, project: Path) -> None:
    plan = json.loads(phi3flow("azure", "plan", "--json", cwd=project).stdout)
    hidden = [each["name"] for each in plan["resources"] if each["action"] == "hidden"]
    assert len(hidden) == 12
    assert {each["resource"] for each in plan["resources"] if each["action"] == "hidden"} == {"provider"}
    whys = [each["why"] for each in plan["findings"]]
    assert {each["severity"] for each in plan["findings"]} == {"warning"}
    assert "you have no role on the subscription and may not see whether they are registered" in whys
    assert "you have no role on the subscription and may not read them" in whys
    done = phi3flow("azure", "up", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "az provider register --subscription" in done.stderr
    writes = len(azure.writes)
    assert phi3flow("azure", "up", "--yes", cwd=project).stdout.strip() == "everything is there"
    assert len(azure.writes) == writes
    states = {each["state"] for each in json.loads(phi3flow("azure", "status", "--json", cwd=project).stdout)}
    assert states == {"exists", "exists, not made by phi3flow", "not to be seen"}


def test_a_flows_job_says_what_it_costs(azure: AzureEmulator, project: Path) -> None:
    assert phi3flow("azure", "up", "--yes", cwd=project).returncode == 0
    cost = FlowJobs(project).cost(FlowWork(load_flow(FLOW), project / "lines.jsonl", 1, {}))
    assert cost.startswith("gpu-cluster: 1 x STANDARD_NC24ADS_A100_V4")


@pytest.mark.slow
def test_the_whole_way_is_open(azure: AzureEmulator, project: Path) -> None:
    azure.answer_chat = answer_rightly
    make_project(project)
    assert take_all(azure, project)[-1].resources == 1
