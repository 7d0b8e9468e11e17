"""Which Azure OpenAI resource a project works with: by its endpoint and key, or by its name in the subscription."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from phi3flow.azure.arm import Arm, log_in
from phi3flow.azure.openai.account import Account, find_account
from phi3flow.azure.openai.refusals import ENDPOINT_VARIABLE, KEY_VARIABLE
from phi3flow.azure.openai.service import Address, OpenAIService
from phi3flow.azure.settings import AzureSettings, load_settings
from phi3flow.errors import ConfigError
from phi3flow.project.environment import project_environment

MODEL_VARIABLE = "AZURE_OPENAI_MODEL"
_ROUTE = "/openai/v1"


class OpenAIPlace:
    """The resource of the project in a folder; nothing is asked before it is needed."""

    def __init__(self, project: Path) -> None:
        self._project = project

    @cached_property
    def service(self) -> OpenAIService:
        """Its API. Raises ConfigError where neither the endpoint nor the resource's name is set."""
        endpoint = self._environment.get(ENDPOINT_VARIABLE)
        key = self._environment.get(KEY_VARIABLE)
        base_url = api_base(endpoint) if endpoint else api_base(self.account.endpoint)
        return OpenAIService(Address(base_url, SecretStr(key) if key else None))

    @cached_property
    def account(self) -> Account:
        """The resource in Azure Resource Manager. Raises ConfigError where it is not to be found there."""
        settings = self.settings
        account = find_account(self.arm, settings, self._environment.get(ENDPOINT_VARIABLE))
        if account is None:
            raise ConfigError(
                f"which Azure OpenAI resource? Set openai_account in phi3flow.toml, or {ENDPOINT_VARIABLE} to the "
                f"endpoint of one in subscription {settings.subscription_id}; `phi3flow azure up` makes the one that "
                "openai_account names"
            )
        return account

    @cached_property
    def arm(self) -> Arm:
        """Azure Resource Manager, for whoever is logged in."""
        return log_in()

    @cached_property
    def settings(self) -> AzureSettings:
        """The project's settings. Raises ConfigError where they lack the subscription."""
        return load_settings(self._project)

    @property
    def model(self) -> str | None:
        """The model to fine-tune that the settings name."""
        named = self._environment.get(MODEL_VARIABLE)
        return named or (self.settings.openai_model if self._has_settings else None)

    def key(self) -> SecretStr:
        """Return a key of the resource: the environment's, else the first that Azure tells."""
        key = self._environment.get(KEY_VARIABLE)
        return SecretStr(key) if key else self.account.key()

    @property
    def _has_settings(self) -> bool:
        try:
            return bool(self.settings)
        except ConfigError:
            return False

    @cached_property
    def _environment(self) -> Mapping[str, str]:
        return {name: value for name, value in project_environment(self._project).items() if value}


def api_base(endpoint: str) -> str:
    """Return the base of the v1 routes of an endpoint, as the portal shows it or with routes.

    Raises ConfigError for what is no https URL: a key would travel in the clear.
    """
    address = urlsplit(endpoint.strip())
    if not address.hostname or address.scheme not in ("https", "http"):
        raise ConfigError(f"{ENDPOINT_VARIABLE} is {endpoint!r}: it is a URL such as https://NAME.openai.azure.com")
    if address.scheme == "http" and not _is_loopback(address.hostname):
        raise ConfigError(f"{ENDPOINT_VARIABLE} is {endpoint!r}: over http the key would travel in the clear")
    if address.username or address.password:
        raise ConfigError(f"{ENDPOINT_VARIABLE}: leave the user and password out of the URL")
    before = address.path.partition("/openai")[0].rstrip("/")
    return f"{address.scheme}://{address.netloc}{before}{_ROUTE}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
