"""Connections by name: from connections/*.yml, promptflow's local store, or the Azure workspace, in this order.

A value ``${env:NAME}`` is read from the environment, then from the .env file beside the connections folder. Keys are
held as SecretStr; they leave it only in ``Connection.to_promptflow`` and into promptflow's own encrypted store.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from pydantic import SecretStr

from phi3flow.azure.settings import FILE, load_settings
from phi3flow.environment import project_environment
from phi3flow.errors import BackendError, ConfigError, MissingExtraError
from phi3flow.pf_runs import promptflow_home

DEFAULT_FOLDER = Path("connections")
CUSTOM = "CustomConnection"
SCHEMA = "https://azuremlschemas.azureedge.net/promptflow/latest/CustomConnection.schema.json"
_IRREGULAR_TYPES = {"azure_open_ai": "AzureOpenAI", "open_ai": "OpenAI", "azure_ai_services": "AzureAIServices"}
_ABOUT = {"$schema", "name", "type", "module"}
_API_KEY = "api_key"  # the one secret of every type but custom
_ENV_REFERENCE = re.compile(r"^\$\{env:([^{}]+)\}$")
_PLACEHOLDER = re.compile(r"^<[^<>]*>$")


@dataclass(frozen=True)
class Connection:
    """A connection whose values are resolved; ``type`` is promptflow's class name, such as CustomConnection."""

    name: str
    type: str
    configs: dict[str, str]
    secrets: dict[str, SecretStr]

    @property
    def host(self) -> str | None:
        """The host and port of its endpoint: what a manifest or a message may show."""
        url = next((value for value in self.configs.values() if value.startswith(("http://", "https://"))), "")
        return urlsplit(url).netloc.rpartition("@")[2] or None

    def to_promptflow(self) -> dict[str, Any]:
        """Return promptflow's dict form, with the secrets in clear: for an executor, never for a file or a log."""
        secrets = {key: secret.get_secret_value() for key, secret in self.secrets.items()}
        return {
            "name": self.name,
            "type": self.type,
            "module": "promptflow.connections",
            "value": {**self.configs, **secrets},
            "secret_keys": list(secrets),
        }


@dataclass(frozen=True)
class _Definition:
    """A connection as it was found at ``source``: its values may still be ``${env:NAME}``."""

    source: str
    type: str
    configs: dict[str, str]
    secrets: dict[str, str]


def resolve_connection(name: str, *, folder: Path = DEFAULT_FOLDER) -> Connection:
    """Find a connection by its name; .env and the workspace's config.json are looked for from ``folder``'s parent.

    Raises ConfigError that names file, key and variable where a value is missing or still a placeholder, or where no
    connection has the name; MissingExtraError and BackendError where the Azure workspace cannot be asked.
    """
    folder = folder.absolute()
    files = _read_files(folder)
    found = files.get(name) or _find_in_promptflow(name) or _find_in_workspace(name, folder.parent)
    if found is None:
        raise ConfigError(
            f"there is no connection {name!r} in {folder} (it has {', '.join(sorted(files)) or 'none'}), in "
            f"promptflow's local store or in an Azure workspace: {_remedy(name)}"
        )
    environment = project_environment(folder.parent)
    configs_at, secrets_at = ("configs.", "secrets.") if found.type == CUSTOM else ("", "")

    def expand(key: str, value: str) -> str:
        return _expand(f"{found.source}: {key}", value, environment)

    return Connection(
        name=name,
        type=found.type,
        configs={key: expand(configs_at + key, value) for key, value in found.configs.items() if value},
        secrets={key: SecretStr(expand(secrets_at + key, value)) for key, value in found.secrets.items()},
    )


def read_variable(name: str, *, folder: Path = DEFAULT_FOLDER) -> SecretStr:
    """Return an environment variable, else .env's. Raises ConfigError where neither has it."""
    environment = project_environment(folder.absolute().parent)
    return SecretStr(_expand(name, f"${{env:{name}}}", environment))


def dump_connection(name: str, *, endpoint: str, key_variable: str, protocol: str | None = None) -> bytes:
    """Return the YAML of a custom connection, as ``pf connection create --file`` reads it too."""
    content = {
        "$schema": SCHEMA,
        "name": name,
        "type": "custom",
        "configs": {"endpoint": endpoint, **({"protocol": protocol} if protocol else {})},
        "secrets": {"key": f"${{env:{key_variable}}}"},
    }
    return yaml.safe_dump(content, sort_keys=False).encode()


def store_in_promptflow(connection: Connection) -> None:
    """Create or replace a custom connection in promptflow's local store, encrypted with the system's keyring.

    Raises ConfigError with the ways out where there is no keyring, as on a headless machine.
    """
    from promptflow.client import PFClient
    from promptflow.entities import CustomConnection

    secrets = {key: secret.get_secret_value() for key, secret in connection.secrets.items()}
    entity = CustomConnection(name=connection.name, configs=dict(connection.configs), secrets=secrets)
    try:
        PFClient().connections.create_or_update(entity)
    except Exception as error:
        raise ConfigError(
            f"promptflow's local store did not take the connection {connection.name} ({_first_sentence(error)}). It "
            "needs a keyring. Where there is none: pip install keyrings.alt and set "
            "PYTHON_KEYRING_BACKEND=keyrings.alt.file.PlaintextKeyring, or use --to file, which needs none"
        ) from error


def is_in_promptflow(name: str) -> bool:
    """Whether promptflow's local store has a connection of this name."""
    return _read_promptflow(name, with_secrets=False) is not None


def _read_files(folder: Path) -> dict[str, _Definition]:
    found: dict[str, _Definition] = {}
    for path in sorted(path for path in folder.glob("*") if path.suffix in (".yml", ".yaml")):
        content = _read_yaml(path)
        name = str(content.get("name", path.stem))
        if name in found:
            raise ConfigError(f"{path}: the connection {name!r} is also in {found[name].source}: rename one of them")
        found[name] = _parse(content, path)
    return found


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8") from error
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)  # the whole message would quote a key
        raise ConfigError(f"{path}{f':{line + 1}' if line is not None else ''}: is not YAML") from None
    if not isinstance(content, dict) or not isinstance(content.get("type"), str):
        raise ConfigError(f"{path}: is not a connection: it has no type (custom, open_ai, azure_open_ai, serverless …)")
    return content


def _parse(content: Mapping[str, Any], path: Path) -> _Definition:
    type_ = content["type"]
    camel = _IRREGULAR_TYPES.get(type_) or "".join(word.capitalize() for word in type_.split("_"))
    values = {key: value for key, value in content.items() if key not in _ABOUT}
    if type_ == "custom":
        unknown = sorted(set(values) - {"configs", "secrets"})
        if unknown:
            raise ConfigError(f"{path}: {unknown[0]}: a custom connection has only name, type, configs and secrets")
        configs, secrets = values.get("configs") or {}, values.get("secrets") or {}
        return _Definition(str(path), CUSTOM, _texts(configs, f"{path}: configs"), _texts(secrets, f"{path}: secrets"))
    texts = _texts(values, str(path))
    secrets = {_API_KEY: texts.pop(_API_KEY)} if _API_KEY in texts else {}
    return _Definition(str(path), f"{camel}Connection", texts, secrets)


def _texts(values: Any, where: str) -> dict[str, str]:
    """YAML reads an unquoted api_version as a date: scalars become text again."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: must map names to values")
    for key, value in values.items():
        if isinstance(value, dict | list):
            raise ConfigError(f"{where}: {key} must be one value, not several")
    return {str(key): "" if value is None else str(value) for key, value in values.items()}


def _expand(where: str, value: str, environment: Mapping[str, str]) -> str:
    reference = _ENV_REFERENCE.match(value.strip())
    if reference:
        variable = reference.group(1)
        value = environment.get(variable, "")
        if not value:
            raise ConfigError(
                f"{where}: the environment variable {variable} is not set: export it, or put it into .env"
            )
    elif "${" in value:
        raise ConfigError(f"{where}: ${{env:NAME}} must be the whole value")
    if not value or _PLACEHOLDER.match(value.strip()):
        raise ConfigError(f"{where}: is still a placeholder: give it a value, or ${{env:NAME}}")
    return value.strip()


def _find_in_promptflow(name: str) -> _Definition | None:
    try:
        entity = _read_promptflow(name, with_secrets=True)
    except Exception as error:
        raise ConfigError(
            f"the connection {name} cannot be read from promptflow's local store ({_first_sentence(error)}). It needs "
            f"the keyring it was made with; without one: {_remedy(name)}"
        ) from error
    return None if entity is None else _definition_of(entity, f"promptflow's connection {name}")


def _read_promptflow(name: str, *, with_secrets: bool) -> Any:
    """Read promptflow's local store where there is one, without the telemetry of its public way."""
    if not (promptflow_home() / "pf.sqlite").is_file():
        return None
    from promptflow._sdk.operations._connection_operations import ConnectionOperations

    return ConnectionOperations()._get(name, with_secrets=with_secrets, raise_error=False)


def _find_in_workspace(name: str, project: Path) -> _Definition | None:
    """Ask the Azure workspace that config.json names, here or in a folder above, else the one of phi3flow.toml."""
    workspace = _read_workspace(project)
    if workspace is None:
        return None
    try:
        from promptflow.core._connection_provider._workspace_connection_provider import WorkspaceConnectionProvider
        from promptflow.core._errors import MissingRequiredPackage, OpenURLNotFoundError
    except ImportError as error:
        raise MissingExtraError("azure", error) from error
    logging.getLogger("azure.identity").setLevel(logging.ERROR)  # its warnings say at length what the error says
    try:
        entity = WorkspaceConnectionProvider(*workspace).get(name)
    except OpenURLNotFoundError:
        return None
    except (ImportError, MissingRequiredPackage) as error:
        raise MissingExtraError("azure", _first_sentence(error)) from error
    except Exception as error:
        raise BackendError(
            f"the connection {name} is not on this machine, and the Azure workspace {workspace[2]} cannot be asked for "
            f"it ({_first_sentence(error)}): az login, or {_remedy(name)}"
        ) from error
    return _definition_of(entity, f"connection {name} of the Azure workspace {workspace[2]}")


def _read_workspace(project: Path) -> tuple[str, str, str] | None:
    """Return subscription, group and name of the workspace of config.json, else of the project's AI Foundry project."""
    for folder in (project, *project.parents):
        for file in (folder / ".azureml" / "config.json", folder / "config.json"):
            try:
                content = json.loads(file.read_bytes())
                return content["subscription_id"], content["resource_group"], content["workspace_name"]
            except (OSError, ValueError, KeyError, TypeError):
                continue
    if not (project / FILE).is_file() and "AZURE_SUBSCRIPTION_ID" not in project_environment(project):
        return None
    settings = load_settings(project)
    return settings.subscription_id, settings.resource_group, settings.project


def _definition_of(entity: Any, source: str) -> _Definition:
    described = entity._to_execution_connection_dict()
    values = {key: str(value) for key, value in described["value"].items()}
    secrets = {key: values.pop(key) for key in described["secret_keys"] if key in values}
    return _Definition(source, described["type"], values, secrets)


def _remedy(name: str) -> str:
    return f"phi3flow connect {name} --endpoint URL --key-env VARIABLE"


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")[:200] or type(error).__name__
