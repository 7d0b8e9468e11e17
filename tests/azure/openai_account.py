"""An account of Azure OpenAI in an emulated Azure, what its users do there, and a record of what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import openai

from tests.azure.arm_client import GROUP, ArmClient
from tests.azure.openai_scenario import DEPLOYMENT, follow, submit, upload

VERSION = "2025-06-01"
SUBDOMAIN = "phi3flow-openai"
ACCOUNTS = f"{GROUP}/providers/Microsoft.CognitiveServices/accounts"
ACCOUNT = f"{ACCOUNTS}/{SUBDOMAIN}"
ENDPOINT = f"https://{SUBDOMAIN}.openai.azure.com/"


@dataclass
class Answers:
    """The JSON of every answer that a client got."""

    bodies: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, response: Any) -> None:
        """Keep an answer; httpx calls this."""
        response.read()
        if response.headers.get("content-type", "").startswith("application/json"):
            self.bodies.append(response.json())


def account_body(kind: str = "OpenAI", subdomain: str = SUBDOMAIN, **properties: Any) -> dict[str, Any]:
    """Return what to send for an account."""
    named = {"customSubDomainName": subdomain, **properties}
    return {"location": "eastus2", "kind": kind, "sku": {"name": "S0"}, "properties": named}


def make_account(arm: ArmClient, *, path: str = ACCOUNT, body: dict[str, Any] | None = None) -> str:
    """Make a group and an account in it, and return one of the account's keys."""
    ArmClient("2024-03-01").put(GROUP, {"location": "eastus2"})
    arm.put(path, body or account_body())
    return str(arm.post(f"{path}/listKeys")["key1"])


def client_of(endpoint: str, key: str, *, answers: Answers | None = None) -> openai.OpenAI:
    """Return a client of the newer routes that tries nothing twice."""
    http_client = openai.DefaultHttpxClient(event_hooks={"response": [answers]}) if answers else None
    return openai.OpenAI(base_url=f"{endpoint}openai/v1/", api_key=key, max_retries=0, http_client=http_client)


def deployment_body(model: str, *, sku: str = "Standard", capacity: Any = 1, **named: str) -> dict[str, Any]:
    """Return what to send for a deployment of a fine-tuned model."""
    described = {"format": "OpenAI", "name": model, "version": "1", **named}
    return {"sku": {"name": sku, "capacity": capacity}, "properties": {"model": described}}


def deploy(arm: ArmClient, model: str, *, name: str = DEPLOYMENT, account: str = ACCOUNT, **changed: Any) -> Any:
    """Deploy a fine-tuned model, and return the deployment."""
    return arm.put(f"{account}/deployments/{name}", deployment_body(model, **changed))


def fine_tune(client: openai.OpenAI, **settings: Any) -> str:
    """Fine-tune a model, and return its name."""
    job = submit(client, upload(client), **settings)
    assert follow(client, job.id)[-1] == "succeeded"
    return str(client.fine_tuning.jobs.retrieve(job.id).fine_tuned_model)


def refusal(error: openai.APIStatusError) -> tuple[int, str, str]:
    """Return status, code and message of what Azure refused."""
    body: Any = error.body
    return error.status_code, body["code"], body["message"]
