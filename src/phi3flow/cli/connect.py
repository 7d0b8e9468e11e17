"""Write a connection to an endpoint, so that flows find it by name.

--to file (the default) writes connections/NAME.yml, which refers to an environment variable (or a line of .env) that
holds the key; the key itself is written nowhere, unless --save-key asks for a line in .env. --to pf puts the connection
into promptflow's local store, for pf and VS Code; that store encrypts the key with the system's keyring. --to foundry
makes it in the AI Foundry project of phi3flow.toml, where the key is a secret; flows that run here find it there too.
--to azureml makes it in the workspace, where batch-run --engine azureml finds it.

The key of an endpoint in Azure is asked of Azure; any other comes from --key-env. Where an endpoint has several
deployments, such as the base model and the fine-tuned one, --deployment makes a connection to one of them.

--type is what the flow's node takes: custom is for flows/chat_phi3 and other Python tools; the others are Prompt flow's
own, for LLM nodes: open_ai for any server of OpenAI's protocol, azure_open_ai for Azure OpenAI's older route (the node
names the deployment, the URL may say the api-version), serverless for a serverless deployment.

Examples:
  phi3flow connect phi3_endpoint --from-deployment
  phi3flow connect phi3_endpoint --endpoint https://NAME.REGION.inference.ml.azure.com/score --key-env PHI3_KEY
  phi3flow connect phi3_vllm --endpoint http://127.0.0.1:8000/v1 --protocol openai --key-env VLLM_KEY
  phi3flow connect phi3_openai --type open_ai --endpoint https://RESOURCE.openai.azure.com/openai/v1 --key-env AOAI_KEY
  phi3flow connect phi3_endpoint --from-deployment phi3-tuned --to pf
  phi3flow connect phi3_azure --from-deployment --to foundry
  phi3flow connect phi3_azure --from-deployment --to azureml
  phi3flow connect phi3_base --from-deployment --deployment phi-4-mini-instruct-1 --to foundry

Exit codes: 0 written; 2 usage or configuration, or an existing connection that was not to be replaced; 3 Azure.
"""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError
from phi3flow.project.paths import CONNECTIONS, ENVIRONMENT_FILE

if TYPE_CHECKING:
    from pydantic import SecretStr

    from phi3flow.connections.types import ConnectionType
    from phi3flow.project.state import EndpointState

DEFAULT_KEY_VARIABLE = "PHI3_KEY"
_NO_SECRETS = {"api-version"}  # of a URL's query
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_ -]*$")
_SAVE_KEY = "--save-key goes with --to file and the deployment of an endpoint in Azure"
_VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("name", metavar="NAME", help="the connection's name; flows/chat_phi3 uses phi3_endpoint")
    endpoint = parser.add_mutually_exclusive_group(required=True)
    endpoint.add_argument("--endpoint", metavar="URL", help="the scoring URL; with --protocol openai, the base URL")
    endpoint.add_argument(
        "--from-deployment",
        nargs="?",
        const="",
        metavar="ENDPOINT",
        help="the endpoint that `phi3flow deploy` made (default: the last one)",
    )
    parser.add_argument(
        "--key-env",
        default=DEFAULT_KEY_VARIABLE,
        metavar="VAR",
        help=f"the environment variable that holds the key (default: {DEFAULT_KEY_VARIABLE})",
    )
    _add_kind(parser)
    parser.add_argument(
        "--to", choices=["file", "pf", "foundry", "azureml"], default="file", help="where it goes (default: file)"
    )
    parser.add_argument(
        "--save-key", action="store_true", help="with --to file: write the key of an endpoint in Azure into .env"
    )
    parser.add_argument("--yes", action="store_true", help="replace a connection that differs, without asking")


def _add_kind(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say what the connection is of."""
    parser.add_argument(
        "--deployment",
        metavar="NAME",
        help="the deployment of an endpoint in Azure that shall answer, whatever the traffic (default: by traffic)",
    )
    parser.add_argument(
        "--type",
        choices=["custom", "open_ai", "azure_open_ai", "serverless"],
        default="custom",
        help="which type of Prompt flow's connections it is (default: custom)",
    )
    parser.add_argument(
        "--protocol",
        choices=["azureml", "openai"],
        help="with --type custom: what the endpoint speaks (default: azureml, or what was deployed)",
    )
    parser.add_argument(
        "--model",
        metavar="NAME",
        help="with --protocol openai: what requests call the model, in Azure OpenAI the deployment",
    )


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.connections.types import CONNECTION_TYPES

    _check_flags(args)
    kind = CONNECTION_TYPES[args.type]
    deployed = None if args.endpoint else _find_deployed(args.from_deployment, args.deployment)
    url = _url_of(deployed, args) if deployed else args.endpoint
    _check_url(url)
    configs = _configs(args, kind, url, deployed)
    to_file = args.to == "file"
    if args.save_key and not (deployed and to_file):
        raise ConfigError(_SAVE_KEY)
    key = _ask_key(deployed) if deployed and (args.save_key or not to_file) else None
    if args.save_key and key is None:
        raise ConfigError(_SAVE_KEY)
    if to_file:
        return _to_file(args, kind, configs, key, terminal)
    if key is None:
        from phi3flow.connections.resolve import read_variable

        key = read_variable(args.key_env)
    return (_to_promptflow if args.to == "pf" else _to_azure)(args, kind, configs, key, terminal)


def _ask_key(deployed: EndpointState) -> SecretStr | None:
    """Return an endpoint's key where its backend keeps it; a variable holds any other."""
    from phi3flow.backends.choice import open_backend

    return open_backend(deployed.backend).connection(deployed.endpoint).key


def _to_file(
    args: argparse.Namespace, kind: ConnectionType, configs: dict[str, str], key: SecretStr | None, terminal: Terminal
) -> int:
    """Write the file, and ``key``, where it is to be saved, into .env."""
    from phi3flow.connections.files import dump_connection
    from phi3flow.storage.files import write_file

    path = CONNECTIONS / f"{args.name}.yml"
    content = dump_connection(args.name, kind, configs=configs, key_variable=args.key_env)
    exists = path.is_file()
    unchanged = exists and path.read_bytes() == content
    if exists and not unchanged and not terminal.confirm(f"{path} holds another connection. Replace it?", yes=args.yes):
        return 2
    if not unchanged:
        write_file(path, content)
    if key is not None:
        _save_key(args.key_env, key)
    outcome, endpoint = "is up to date" if unchanged else "written", configs[kind.url_field]
    terminal.result(
        {**_told(args, endpoint), "path": str(path), "key_env": args.key_env},
        f"{path} {outcome}: {endpoint}, key from ${args.key_env}",
    )
    return 0


def _save_key(variable: str, key: SecretStr) -> None:
    """Put the key into .env, whose other lines stay, and which only its owner may read."""
    from dotenv import set_key

    file = ENVIRONMENT_FILE
    file.touch(mode=0o600)
    set_key(file, variable, key.get_secret_value(), quote_mode="auto")


def _to_promptflow(
    args: argparse.Namespace, kind: ConnectionType, configs: dict[str, str], key: SecretStr, terminal: Terminal
) -> int:
    from phi3flow.connections.connection import Connection
    from phi3flow.connections.promptflow_store import is_in_promptflow, is_same_in_promptflow, store_in_promptflow

    connection = Connection(args.name, kind.class_name, configs, {kind.key_field: key})
    unchanged = is_same_in_promptflow(connection)
    question = f"promptflow's local store has another connection {args.name}. Replace it?"
    if not unchanged and is_in_promptflow(args.name) and not terminal.confirm(question, yes=args.yes):
        return 2
    if not unchanged:
        store_in_promptflow(connection)
    endpoint = configs[kind.url_field]
    terminal.result(
        _told(args, endpoint),
        f"connection {args.name} is {'up to date' if unchanged else 'written'} in promptflow's local store: {endpoint}",
    )
    return 0


def _to_azure(
    args: argparse.Namespace, kind: ConnectionType, configs: dict[str, str], key: SecretStr, terminal: Terminal
) -> int:
    from phi3flow.azure.workspace.connections import ProjectConnection, read_connection, write_connection
    from phi3flow.azure.workspace.workspace import open_workspace

    workspace = open_workspace()
    settings = workspace.settings
    place, owner = ("project", settings.project) if args.to == "foundry" else ("workspace", settings.workspace)
    connection = ProjectConnection(args.name, kind.class_name, configs, {kind.key_field: key})
    existing = read_connection(workspace, owner, args.name)
    unchanged = existing == connection
    question = f"The {place} {owner} has another connection {args.name}. Replace it?"
    if existing and not unchanged and not terminal.confirm(question, yes=args.yes):
        return 2
    if not unchanged:
        write_connection(workspace, owner, connection)
    endpoint = configs[kind.url_field]
    terminal.result(
        {**_told(args, endpoint), place: owner},
        f"connection {args.name} is {'up to date' if unchanged else 'written'} in the {place} {owner}: {endpoint}",
    )
    return 0


def _told(args: argparse.Namespace, endpoint: str) -> dict[str, str]:
    return {"connection": args.name, "type": args.type, "to": args.to, "endpoint": endpoint}


def _configs(
    args: argparse.Namespace, kind: ConnectionType, url: str, deployed: EndpointState | None
) -> dict[str, str]:
    """Return what is no secret: of a custom connection also the protocol, and what requests call the model."""
    spoken = {"protocol": args.protocol, "model": args.model, "deployment": args.deployment}
    if args.type == "custom" and deployed and deployed.protocol == "openai":
        spoken = {"protocol": deployed.protocol, "model": args.model or deployed.asked_as}
    return {**kind.configs(url), **{key: value for key, value in spoken.items() if value}}


def _check_flags(args: argparse.Namespace) -> None:
    if not _NAME.match(args.name):
        raise ConfigError(f"{args.name!r}: a connection's name has letters, digits, '_', '-' and spaces only")
    if not _VARIABLE.match(args.key_env):
        raise ConfigError("--key-env takes the name of an environment variable that holds the key, not the key itself")
    for flag in ("protocol", "model", "deployment"):
        if args.type != "custom" and getattr(args, flag):
            raise ConfigError(f"--{flag} goes with --type custom: of {args.type} the flow's LLM node says the rest")


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--endpoint {url!r}: must be an http(s) URL")
    if parts.username or parts.password:
        raise ConfigError("--endpoint: leave the user and password out of the URL; the key comes from --key-env")
    fields = [field.partition("=") for field in parts.query.split("&") if field]
    names = {name if equals else "…" for name, equals, _ in fields} - _NO_SECRETS
    if names:
        raise ConfigError(
            f"--endpoint: its query ({', '.join(sorted(names))}) may hold a key, and would be written as it "
            "stands: put the whole URL into an environment variable, and endpoint: ${env:NAME} into the connection's "
            "file"
        )


def _find_deployed(name: str, deployment: str | None) -> EndpointState:
    """Return what was deployed at an endpoint, the last one without names. Raises ConfigError that lists what is."""
    from phi3flow.project.state import load

    endpoints = load().endpoints
    if not endpoints:
        raise ConfigError("--from-deployment: nothing is deployed from here: phi3flow deploy, or give --endpoint URL")
    matching = [deployed for deployed in endpoints if not name or deployed.endpoint == name]
    if not matching:
        names = ", ".join(dict.fromkeys(deployed.endpoint for deployed in endpoints))
        raise ConfigError(f"--from-deployment {name}: there is no such endpoint; there are {names}")
    if deployment is None:
        return matching[-1]
    for deployed in reversed(matching):
        if deployed.deployment == deployment:
            return deployed
    names = ", ".join(f"{deployed.deployment} of {deployed.endpoint}" for deployed in matching)
    raise ConfigError(f"--deployment {deployment}: there is no such deployment; there are {names}")


def _url_of(endpoint: EndpointState, args: argparse.Namespace) -> str:
    """Return its URL; our local server, whose is http, answers OpenAI's protocol beside its scoring URL, and at /v1."""
    from phi3flow.backends.choice import open_backend

    url = endpoint.url or open_backend(endpoint.backend).connection(endpoint.endpoint).url
    if endpoint.protocol == "openai":
        return url
    base_url = url.removesuffix("/score")
    if args.type == "custom":
        return base_url if args.protocol == "openai" else url
    return f"{base_url}/v1" if url.startswith("http://") and url != base_url else url
