"""An Azure OpenAI resource in Azure Resource Manager: its endpoint, keys, models and deployments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from phi3flow.azure.arm import Arm, OnWait
from phi3flow.azure.settings import AzureSettings
from phi3flow.azure.tags import TAGS
from phi3flow.errors import ConfigError

OPENAI_VERSION = "2025-06-01"
"""The API version of Microsoft.CognitiveServices that everything here speaks; 2024-10-21 and the like are the data
plane's."""
ACCOUNTS = "Microsoft.CognitiveServices/accounts"
_API = "OpenAI Language Model Instance API"
"""Among a resource's endpoints."""
_DOMAINS = ("openai.azure.com", "cognitiveservices.azure.com", "services.ai.azure.com")
_PRIVATE = "privatelink."


class Account:
    """A resource as it was when it was found; its deployments are asked each time."""

    def __init__(self, arm: Arm, resource: Mapping[str, Any]) -> None:
        self.arm, self.resource = arm, resource
        self.id, self.name = str(resource["id"]), str(resource["name"])

    @property
    def endpoint(self) -> str:
        """Where its API is reached; a Foundry resource's own address is that of all its services."""
        properties = self.resource["properties"]
        known = (properties.get("endpoints") or {}).get(_API) or properties.get("endpoint")
        return str(known or f"https://{self.name}.openai.azure.com/")

    @property
    def takes_keys(self) -> bool:
        """Whether its keys are taken; where not, only a login is."""
        return not self.resource["properties"].get("disableLocalAuth")

    def answers_at(self, host: str) -> bool:
        """Whether a host is one of the resource's own."""
        label, _, domain = host.partition(".")
        return domain.removeprefix(_PRIVATE) in _DOMAINS and label in _subdomains(self.resource)

    @property
    def location(self) -> str:
        """Its region."""
        return str(self.resource.get("location", ""))

    @property
    def is_foundry(self) -> bool:
        """Whether it is a Foundry resource, which has more models than one of Azure OpenAI alone."""
        return str(self.resource.get("kind")) == "AIServices"

    def key(self) -> SecretStr:
        """Return its first key; either works."""
        return SecretStr(str(self.arm.post(f"{self.id}/listKeys", OPENAI_VERSION)["key1"]))

    def models(self) -> list[dict[str, Any]]:
        """Return what can be deployed in it: base models by name and version, and its own."""
        return list(self.arm.list(f"{self.id}/models", OPENAI_VERSION))

    def deployments(self) -> list[dict[str, Any]]:
        """Return every deployment, whoever made it."""
        return list(self.arm.list(f"{self.id}/deployments", OPENAI_VERSION))

    def deployment(self, name: str) -> dict[str, Any] | None:
        """Return a deployment, None where there is none; one that is being changed is waited for."""
        return self.arm.settle(self._id(name), OPENAI_VERSION)

    def deploy(
        self,
        name: str,
        *,
        model: Mapping[str, str],
        sku: str,
        capacity: int,
        tags: Mapping[str, str],
        on_wait: OnWait,
    ) -> None:
        """Make a deployment. Raises AzureError with what Azure says of one that fails. See ``Arm.put``."""
        body = {
            "sku": {"name": sku, "capacity": capacity},
            "tags": {**TAGS, **tags},
            "properties": {"model": dict(model)},
        }
        self.arm.put(self._id(name), OPENAI_VERSION, body, on_wait=on_wait, is_made=has_succeeded)

    def scale(self, name: str, *, sku: str, capacity: int) -> None:
        """Give a deployment another capacity, and change nothing else."""
        self.arm.patch(self._id(name), OPENAI_VERSION, {"sku": {"name": sku, "capacity": capacity}})

    def delete_deployment(self, name: str, *, on_wait: OnWait = lambda _: None) -> None:
        """Delete a deployment, and wait until it is gone."""
        self.arm.delete(self._id(name), OPENAI_VERSION, on_wait=on_wait)

    def _id(self, name: str) -> str:
        return f"{self.id}/deployments/{name}"


def find_account(arm: Arm, settings: AzureSettings, endpoint: str | None) -> Account | None:
    """Return the resource that the settings name, else the one of the subscription that has the endpoint; None without.

    Raises ConfigError where the settings name one that does not have the endpoint, though a resource of Azure's has it:
    jobs would be made in the one, deployments in the other.
    """
    host = urlsplit(endpoint or "").hostname or ""
    if settings.openai_account:
        resource = arm.get(settings.id_of(ACCOUNTS, settings.openai_account), OPENAI_VERSION)
        account = Account(arm, resource) if resource else None
        if account and host.endswith(_DOMAINS) and not account.answers_at(host):
            raise ConfigError(
                f"the endpoint {endpoint} is not that of the Azure OpenAI resource {account.name}, which is "
                f"{account.endpoint}: set one of them only, openai_account or the endpoint"
            )
        return account
    if not host:
        return None
    accounts = (Account(arm, row) for row in arm.list(f"{settings.subscription}/providers/{ACCOUNTS}", OPENAI_VERSION))
    return next((account for account in accounts if account.answers_at(host)), None)


def has_succeeded(deployment: Mapping[str, Any] | None) -> bool:
    """Whether a deployment is there and was made without an error."""
    return deployment is not None and deployment["properties"].get("provisioningState") == "Succeeded"


def model_of(deployment: Mapping[str, Any]) -> str:
    """Return the name of the model that a deployment serves."""
    return str((deployment["properties"].get("model") or {}).get("name") or "")


def _subdomains(row: Mapping[str, Any]) -> set[str]:
    """Return the first labels of all addresses of a resource."""
    properties = row.get("properties") or {}
    urls = [properties.get("endpoint"), *(properties.get("endpoints") or {}).values()]
    hosts = [urlsplit(str(url)).hostname or "" for url in urls if url]
    return {host.partition(".")[0] for host in hosts} | {str(properties.get("customSubDomainName")).lower()}
