"""Write a connection to an endpoint, so that flows find it by name.

The key itself is never written to a file: connections/NAME.yml refers to an environment variable (or a line of
.env) that holds it. --to pf puts the connection into promptflow's local store, for pf and VS Code; that store encrypts
the key with the system's keyring.

Examples:
  phi3flow connect phi3_endpoint --from-deployment
  phi3flow connect phi3_endpoint --endpoint https://NAME.REGION.inference.ml.azure.com/score --key-env PHI3_KEY
  phi3flow connect phi3_vllm --endpoint http://127.0.0.1:8000/v1 --protocol openai --key-env VLLM_KEY
  phi3flow connect phi3_endpoint --from-deployment phi3-tuned --to pf

Exit codes: 0 written; 2 usage or configuration, or an existing connection that was not to be replaced.
"""

from __future__ import annotations

import argparse
import re
from urllib.parse import urlsplit

from phi3flow.cli.terminal import Terminal
from phi3flow.errors import ConfigError

DEFAULT_KEY_VARIABLE = "PHI3_KEY"
_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_ -]*$")
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
    parser.add_argument("--protocol", choices=["azureml", "openai"], help="what the endpoint speaks (default: azureml)")
    parser.add_argument("--to", choices=["file", "pf", "foundry"], default="file", help="where it goes (default: file)")
    parser.add_argument("--yes", action="store_true", help="replace a connection that differs, without asking")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    _check_names(args)
    endpoint = args.endpoint or _deployed_url(args.from_deployment, protocol=args.protocol)
    _check_url(endpoint)
    match args.to:
        case "file":
            return _to_file(args, endpoint, terminal)
        case "pf":
            return _to_promptflow(args, endpoint, terminal)
    raise ConfigError(
        "--to foundry: this version writes no connections to Azure AI Foundry. Add a custom connection with the keys "
        "endpoint and key (secret) in the project's settings, or use --to file or --to pf"
    )


def _to_file(args: argparse.Namespace, endpoint: str, terminal: Terminal) -> int:
    from phi3flow.connections import DEFAULT_FOLDER, dump_connection
    from phi3flow.files import write_file

    path = DEFAULT_FOLDER / f"{args.name}.yml"
    content = dump_connection(args.name, endpoint=endpoint, key_variable=args.key_env, protocol=args.protocol)
    exists = path.is_file()
    unchanged = exists and path.read_bytes() == content
    if exists and not unchanged and not terminal.confirm(f"{path} holds another connection. Replace it?", yes=args.yes):
        return 2
    if not unchanged:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content)
    done = "is up to date" if unchanged else "written"
    terminal.result(
        {"connection": args.name, "to": "file", "path": str(path), "endpoint": endpoint, "key_env": args.key_env},
        f"{path} {done}: {endpoint}, key from ${args.key_env}",
    )
    return 0


def _to_promptflow(args: argparse.Namespace, endpoint: str, terminal: Terminal) -> int:
    from phi3flow.connections import CUSTOM, Connection, is_in_promptflow, read_variable, store_in_promptflow

    configs = {"endpoint": endpoint, **({"protocol": args.protocol} if args.protocol else {})}
    connection = Connection(args.name, CUSTOM, configs, {"key": read_variable(args.key_env)})
    question = f"promptflow's local store has a connection {args.name}. Replace it?"
    if is_in_promptflow(args.name) and not terminal.confirm(question, yes=args.yes):
        return 2
    store_in_promptflow(connection)
    terminal.result(
        {"connection": args.name, "to": "pf", "endpoint": endpoint},
        f"connection {args.name} is in promptflow's local store: {endpoint}",
    )
    return 0


def _check_names(args: argparse.Namespace) -> None:
    if not _NAME.match(args.name):
        raise ConfigError(f"{args.name!r}: a connection's name has letters, digits, '_', '-' and spaces only")
    if not _VARIABLE.match(args.key_env):
        raise ConfigError("--key-env takes the name of an environment variable that holds the key, not the key itself")


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--endpoint {url!r}: must be an http(s) URL")
    if parts.username or parts.password:
        raise ConfigError("--endpoint: leave the user and password out of the URL; the key comes from --key-env")


def _deployed_url(name: str, *, protocol: str | None) -> str:
    """Return the URL of a deployed endpoint; ours answers OpenAI's protocol beside its scoring URL."""
    from phi3flow.state import load

    endpoints = load().endpoints
    if not endpoints:
        raise ConfigError("--from-deployment: nothing is deployed from here: phi3flow deploy, or give --endpoint URL")
    matching = [one for one in endpoints if not name or one.endpoint == name]
    if not matching:
        names = ", ".join(dict.fromkeys(one.endpoint for one in endpoints))
        raise ConfigError(f"--from-deployment {name}: there is no such endpoint; there are {names}")
    url = matching[-1].url
    return url.removesuffix("/score") if protocol == "openai" else url
