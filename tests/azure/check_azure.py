"""`make check-azure`: every body that the verbs send, held against Microsoft's OpenAPI files in AZURE_SPECS_DIR."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from tests.azure import openai_journey, serverless_journey
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Request
from tests.azure.foundry_project import open_foundry
from tests.azure.journey import CONNECTION, STEPS, answer_rightly, make_project, take_all
from tests.azure.openapi import report
from tests.support.command_line import phi3flow

BATCH_RUN = ("batch-run", "flows/chat_phi3", "--data", "data/test_lines.jsonl", "--yes")
MORE = (
    ("fine-tune", "--backend", "azureml", "--epochs", "1", "--yes"),
    ("register", "--backend", "azureml"),
    ("deploy", "--backend", "azureml", "--traffic", "10", "--yes"),
    ("fine-tune", "--backend", "azureml", "--recipe", "script", "--epochs", "1", "--yes"),
    ("register", "--backend", "azureml", "--name", "scripted"),
    ("connect", CONNECTION, "--from-deployment", "--to", "azureml"),
    (*BATCH_RUN, "--engine", "azureml", "--name", "cluster", "--connections", f"chat.connection={CONNECTION}"),
    (*BATCH_RUN, "--engine", "foundry", "--name", "cloud", "--connections", f"chat.connection={CONNECTION}"),
)
"""Between connecting and taking all down: a second version, our own trainer, flows on a cluster and in the cloud."""


def record() -> list[Request]:
    """Give every verb against an emulated Azure, and return what it received."""
    return [*_record_machines(), *_record_serverless(), *_record_openai()]


def _record_serverless() -> list[Request]:
    """Give the verbs of models as a service, switch content safety of an endpoint that somebody edited, and cancel."""
    with tempfile.TemporaryDirectory() as place, open_foundry(Path(place)) as foundry:
        project = foundry.lend(Path(place) / "project")
        verbs = list(serverless_journey.STEPS)
        serverless_journey.take_all(foundry.azure, project, verbs[2 : verbs.index("batch-run base")])
        foundry.endpoints[serverless_journey.BASE]["tags"]["owner"] = "the team"
        for words in (
            (*serverless_journey.STEPS["deploy base"], "--content-safety", "off"),
            ("fine-tune", *serverless_journey.BACKEND, "--epochs", "3", "--batch-size", "4", "--detach", "--yes"),
            ("cancel", *serverless_journey.BACKEND, "--yes"),
        ):
            done = phi3flow(*words, cwd=project)
            assert done.returncode == 0, done.stderr
        serverless_journey.take_all(foundry.azure, project, verbs[verbs.index("undeploy base") :])
        return foundry.azure.requests


def _record_openai() -> list[Request]:
    """Give the verbs of Azure OpenAI, give a deployment more capacity, and cancel a job that has all its settings."""
    with tempfile.TemporaryDirectory() as place, AzureEmulator(Path(place)) as azure:
        os.environ.update(azure.environment)
        azure.answer_chat = openai_journey.answer_rightly
        project = Path(place) / "project"
        project.mkdir()
        openai_journey.lay_out(project)
        verbs = list(openai_journey.STEPS)
        openai_journey.take_all(azure, project, verbs[: verbs.index("batch-run base")])
        settings = ("--epochs", "3", "--batch-size", "4", "--learning-rate-multiplier", "0.5", "--seed", "7")
        for words in (
            (*openai_journey.STEPS["deploy"], "--capacity", "60"),
            ("fine-tune", *openai_journey.BACKEND, "--model", openai_journey.MODEL, *settings, "--detach", "--yes"),
            ("cancel", *openai_journey.BACKEND, "--yes"),
            ("connect", "phi3_endpoint", "--from-deployment", openai_journey.TUNED, "--save-key"),
            (*BATCH_RUN, "--name", "chats"),
        ):
            done = phi3flow(*words, cwd=project)
            assert done.returncode == 0, done.stderr
        openai_journey.take_all(azure, project, verbs[verbs.index("undeploy base") :])
        return azure.requests


def _record_machines() -> list[Request]:
    with tempfile.TemporaryDirectory() as place, AzureEmulator(Path(place)) as azure:
        os.environ.update(azure.environment)
        azure.answer_chat = answer_rightly
        project = Path(place) / "project"
        project.mkdir()
        make_project(project)
        (project / "phi3flow.toml").write_text('[azure]\nopenai_account = "phi3flow-openai"\n', encoding="utf-8")
        verbs = list(STEPS)
        take_all(azure, project, verbs[: verbs.index("batch-run")])
        for words in MORE:
            done = phi3flow(*words, cwd=project)
            assert done.returncode in (0, 1), done.stderr  # 1: lines failed, since nobody executes the flow here
        _change(azure, project)
        take_all(azure, project, verbs[verbs.index("undeploy") :])
        return azure.requests


def _change(azure: AzureEmulator, project: Path) -> None:
    """Change what the settings ask for of what is there, and the traffic of an endpoint that somebody edited."""
    settings = 'openai_account = "phi3flow-openai"\nmax_nodes = 2\ninstances = 2\n'
    (project / "phi3flow.toml").write_text(f"[azure]\n{settings}", encoding="utf-8")
    for row in azure.resources:
        if row["type"].endswith("/onlineEndpoints"):
            row["tags"]["owner"] = "the team"
            row["properties"].update(description="Ours.", publicNetworkAccess="Disabled", properties={"a": "b"})
    for words in (STEPS["azure up"], (*STEPS["deploy"], "Phi-4-mini-instruct-tuned:1", "--traffic", "60")):
        done = phi3flow(*words, cwd=project)
        assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    sys.exit(report(record))
