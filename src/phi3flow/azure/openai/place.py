"""Which Azure OpenAI resource a project works with: by its endpoint and key, or by its name in the subscription."""

from __future__ import annotations

import contextlib
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
from phi3flow.azure.settings import AzureSettings, load_settings, read_setting
from phi3flow.errors import ConfigError, ForbiddenError
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
        if not endpoint and not self.has_settings:
            raise ConfigError(
                f"which Azure OpenAI resource? Set {ENDPOINT_VARIABLE} to its endpoint and {KEY_VARIABLE} to one of "
                "its keys, or subscription_id and openai_account in phi3flow.toml"
            )
        base_url = api_base(endpoint) if endpoint else api_base(self.account.endpoint)
        return OpenAIService(Address(base_url, SecretStr(key) if key else None))

    @property
    def account(self) -> Account:
        """The resource in Azure Resource Manager. Raises ConfigError where it is not to be found there."""
        settings = self.settings
        if self.found_account is not None:
            return self.found_account
        if settings.openai_account:
            raise ConfigError(
                f"there is no Azure OpenAI resource {settings.openai_account} in the group {settings.resource_group}: "
                "`phi3flow azure up` makes it"
            )
        raise ConfigError(
            f"which Azure OpenAI resource? Set openai_account in phi3flow.toml, or {ENDPOINT_VARIABLE} to the "
            f"endpoint of one in subscription {settings.subscription_id}; `phi3flow azure up` makes the one that "
            "openai_account names"
        )

    @cached_property
    def found_account(self) -> Account | None:
        """The resource in Azure Resource Manager, None where it is not there."""
        return find_account(self.arm, self.settings, self._environment.get(ENDPOINT_VARIABLE))

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
        return named or read_setting(self._project, "openai_model")

    def key(self) -> SecretStr:
        """Return a key of the resource: the environment's, else the first that Azure tells."""
        key = self._environment.get(KEY_VARIABLE)
        return SecretStr(key) if key else self.account.key()

    def bearer(self) -> SecretStr:
        """Return what a request is dressed with: a key, else, where the caller gets none, a token of the login."""
        if self._environment.get(KEY_VARIABLE) or self.account.takes_keys:
            with contextlib.suppress(ForbiddenError):
                return self.key()
        return self.service.token()

    @property
    def is_there(self) -> bool:
        """Whether there is a resource to ask, as far as anybody can tell before it is asked."""
        return bool(self._environment.get(ENDPOINT_VARIABLE)) or (self.has_settings and self.found_account is not None)

    @property
    def has_settings(self) -> bool:
        """Whether the subscription is set; jobs need none, since the endpoint and a key tell all."""
        return read_setting(self._project, "subscription_id") is not None

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
