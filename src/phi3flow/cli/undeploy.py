"""Delete an endpoint: it finishes what is in flight, then it is gone.

Without NAME the only endpoint there is, and nothing where there is none. In Azure Machine Learning --deployment deletes
one deployment of an endpoint, such as the old one after a new version has all the traffic. Asks first; --yes answers.

Examples:
  phi3flow undeploy
  phi3flow undeploy support --yes
  phi3flow undeploy --backend azureml
  phi3flow undeploy --backend azureml --deployment phi3-support-3
"""

from __future__ import annotations

import argparse

from phi3flow.cli.arguments import add_backend
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the endpoint (default: the only one)")
    add_backend(parser)
    parser.add_argument("--deployment", metavar="NAME", help="azureml: only this deployment")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.backends.choice import open_backend

    backend = open_backend(args.backend)
    if args.deployment and not backend.has_deployments:
        raise ConfigError(f"--deployment does not go with --backend {backend.name}: an endpoint is its only deployment")
    name = args.name or _only(backend.endpoint_names())
    if name is None:
        terminal.result({"backend": backend.name, "endpoint": None, "state": "absent"}, "there is no endpoint")
        return 0
    label = f"deployment {args.deployment} of the endpoint {name}" if args.deployment else f"endpoint {name}"
    if not terminal.confirm(f"Delete the {label}?", yes=args.yes):
        return 1
    backend.undeploy(name, deployment=args.deployment)
    deployment = {"deployment": args.deployment} if backend.has_deployments else {}
    data = {"backend": backend.name, "endpoint": name, **deployment, "state": "deleted"}
    terminal.result(data, f"deleted the {label}")
    return 0


def _only(names: list[str]) -> str | None:
    if len(names) > 1:
        raise ConfigError(f"which one? phi3flow undeploy NAME; there are {', '.join(names)}")
    return names[0] if names else None
