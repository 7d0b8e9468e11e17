"""The whole way with models as a service, verb by verb, as a person would type it in an empty subscription.

`python -m tests.azure.serverless_journey` takes it against an emulated Azure and prints a table: verb, requests, what
there is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phi3flow.project import state
from phi3flow.project.paths import STATE_FILE
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.journey import Journey, make_project
from tests.azure.snapshots import snapshot

BASE, TUNED = "phi4-base", "phi4-tuned"
"""The endpoints of the registry's model as it is and of what is made of it; their connections are called so too."""
BACKEND = ("--backend", "serverless")
BATCH_RUN = ("batch-run", "flows/chat_phi3", "--data", "data/test_lines.jsonl")
RULES = ("--rule", "answer_match.exact_match better than baseline", "--rule", "failed <= 50%")
STEPS: dict[str, tuple[str, ...]] = {
    "azure up": ("azure", "up", "--yes"),
    "prepare-data": ("prepare-data", "--input", "chats.jsonl", "--out", "data"),
    "fine-tune": ("fine-tune", *BACKEND, "--suffix", "support", "--epochs", "2", "--yes"),
    "register": ("register", *BACKEND),
    "deploy base": ("deploy", "Phi-4-mini-instruct", *BACKEND, "--name", BASE, "--yes"),
    "deploy": ("deploy", *BACKEND, "--name", TUNED, "--yes"),
    "status": ("status", *BACKEND),
    "connect base": ("connect", BASE, "--from-deployment", BASE, "--to", "foundry"),
    "connect": ("connect", TUNED, "--from-deployment", TUNED, "--to", "foundry"),
    "batch-run base": (*BATCH_RUN, "--connections", f"chat.connection={BASE}", "--name", "base"),
    "batch-run": (*BATCH_RUN, "--connections", f"chat.connection={TUNED}", "--name", "tuned"),
    "score base": ("score", "base", "--flow", "flows/eval/answer_match"),
    "score": ("score", "tuned", "--flow", "flows/eval/answer_match"),
    "compare": ("compare", "base", "tuned"),
    "gate": ("gate", "tuned", "--baseline", "base", *RULES),
    "report": ("report", "base", "tuned", "--training", ".phi3flow/fine-tunes/*"),
    "undeploy base": ("undeploy", BASE, *BACKEND, "--yes"),
    "undeploy": ("undeploy", TUNED, *BACKEND, "--cascade", "--yes"),
    "azure down": ("azure", "down", "--yes"),
}


def leftovers(azure: AzureEmulator, project: Path) -> list[str]:
    """Return what there is in Azure, its jobs too, and what the project notes of it, without times."""
    jobs = [f"{job.id}: {job.status}" for job in azure.jobs.all]
    noted = state.load(project / STATE_FILE).model_dump(mode="json")
    records = [record for name in ("jobs", "models", "endpoints") for record in noted[name]]
    return [*snapshot(azure), *jobs, *(str({**record, "created_at": None}) for record in records)]


def answer_rightly(endpoint: Mapping[str, Any], messages: Sequence[dict[str, str]], parameters: object) -> str:
    """What a well-tuned model would say; the base model knows nothing."""
    if endpoint.get("name") == BASE:
        return "I do not know."
    number = messages[-1]["content"].rpartition("number ")[2].rstrip("?")
    return f"Company number {number} was founded by person {number}."


JOURNEY = Journey(STEPS, make_project, answer_rightly)
take_step, take_all = JOURNEY.take_step, JOURNEY.take_all

if __name__ == "__main__":
    JOURNEY.print_table()
