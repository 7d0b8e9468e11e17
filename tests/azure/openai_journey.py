"""The whole way with Azure OpenAI, verb by verb, as a person would type it in an empty subscription.

`python -m tests.azure.openai_journey` takes it against an emulated Azure and prints a table: verb, requests, what there
is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.journey import Journey, make_project
from tests.azure.snapshots import snapshot

ACCOUNT = "phi3flow-openai"
SETTINGS = f'[azure]\nopenai_account = "{ACCOUNT}"\n'
MODEL, LIVING = "gpt-4.1-mini-2025-04-14", "gpt-oss-20b"
"""What is fine-tuned, and, since its base is retired, what is deployed beside it."""
BASE, TUNED = "base", "tuned"
"""The deployments; their connections are called so too."""
BACKEND = ("--backend", "azure-openai")
BATCH_RUN = ("batch-run", "flows/chat_phi3", "--data", "data/test_lines.jsonl")
TRAINING = ("--suffix", "support", "--epochs", "2", "--validation-split", "0.25")
STEPS: dict[str, tuple[str, ...]] = {
    "azure up": ("azure", "up", "--yes"),
    "prepare-data": ("prepare-data", "--input", "chats.jsonl", "--out", "data"),
    "fine-tune": ("fine-tune", *BACKEND, "--model", MODEL, *TRAINING, "--yes"),
    "register": ("register", *BACKEND),
    "deploy base": ("deploy", LIVING, *BACKEND, "--name", BASE, "--yes"),
    "deploy": ("deploy", *BACKEND, "--name", TUNED, "--yes"),
    "status": ("status", *BACKEND),
    "connect base": ("connect", BASE, "--from-deployment", BASE, "--to", "foundry"),
    "connect": ("connect", TUNED, "--from-deployment", TUNED, "--to", "foundry"),
    "batch-run base": (*BATCH_RUN, "--connections", f"chat.connection={BASE}", "--name", BASE),
    "batch-run": (*BATCH_RUN, "--connections", f"chat.connection={TUNED}", "--name", TUNED),
    "score base": ("score", BASE, "--flow", "flows/eval/answer_match"),
    "score": ("score", TUNED, "--flow", "flows/eval/answer_match"),
    "compare": ("compare", BASE, TUNED),
    "gate": ("gate", TUNED, "--baseline", BASE, "--rule", "answer_match.exact_match better than baseline"),
    "report": ("report", BASE, TUNED, "--training", ".phi3flow/fine-tunes/*"),
    "undeploy base": ("undeploy", BASE, *BACKEND, "--yes"),
    "undeploy": ("undeploy", TUNED, *BACKEND, "--cascade", "--yes"),
    "azure down": ("azure", "down", "--yes"),
}


def lay_out(project: Path) -> None:
    """Lay out what a project has before the first verb."""
    make_project(project)
    (project / "phi3flow.toml").write_text(SETTINGS, encoding="utf-8")


def answer_rightly(deployment: Mapping[str, Any], messages: Sequence[dict[str, str]], parameters: object) -> str:
    """What a well-tuned model would say; the base model knows nothing."""
    if deployment.get("name") == BASE:
        return "I do not know."
    number = messages[-1]["content"].rpartition("number ")[2].rstrip("?")
    return f"Company number {number} was founded by person {number}."


def left_in(azure: AzureEmulator) -> list[str]:
    """Return what there is, in the resource manager and behind the resource's own API, as texts that compare."""
    rows = snapshot(azure)
    for account in azure.openai.accounts.all:
        rows += sorted(f"file {file.filename} {file.status}" for file in azure.openai.files.of(account["id"]))
        rows += [f"job {job.settings.model} {job.status}" for job in azure.openai.jobs.of(account["id"])]
        rows += [f"model of {model.base.id}" for model in azure.openai.models.of(account["id"])]
    return rows


JOURNEY = Journey(STEPS, lay_out, answer_rightly)
take_step, take_all = JOURNEY.take_step, JOURNEY.take_all

if __name__ == "__main__":
    JOURNEY.print_table()
