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

from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the endpoint (default: the only one)")
    parser.add_argument("--backend", choices=("local", "azureml"), default="local", help="where (default: local)")
    parser.add_argument("--deployment", metavar="NAME", help="azureml: only this deployment")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    if args.backend == "azureml":
        return _undeploy_in_cloud(args, terminal)
    from phi3flow.backends.local.endpoints import LocalBackend

    if args.deployment:
        raise ConfigError("--deployment is for --backend azureml: an endpoint on this machine is its only deployment")
    backend = LocalBackend()
    name = args.name or _only([endpoint.endpoint for endpoint in backend.endpoints()])
    if name is None:
        return _nothing(args, terminal)
    if not terminal.confirm(f"Delete the endpoint {name}?", yes=args.yes):
        return 1
    backend.undeploy(name)
    terminal.result({"backend": args.backend, "endpoint": name, "state": "deleted"}, f"deleted {name}")
    return 0


def _undeploy_in_cloud(args: argparse.Namespace, terminal: Terminal) -> int:
    from phi3flow.backends.azureml import AzureMLBackend

    backend = AzureMLBackend()
    name = args.name or _only(backend.endpoint_names())
    if name is None:
        return _nothing(args, terminal)
    what = f"deployment {args.deployment} of the endpoint {name}" if args.deployment else f"endpoint {name}"
    if not terminal.confirm(f"Delete the {what}?", yes=args.yes):
        return 1
    backend.undeploy(name, deployment=args.deployment)
    shown = {"backend": args.backend, "endpoint": name, "deployment": args.deployment, "state": "deleted"}
    terminal.result(shown, f"deleted the {what}")
    return 0


def _nothing(args: argparse.Namespace, terminal: Terminal) -> int:
    terminal.result({"backend": args.backend, "endpoint": None, "state": "absent"}, "there is no endpoint")
    return 0


def _only(names: list[str]) -> str | None:
    if len(names) > 1:
        raise ConfigError(f"which one? phi3flow undeploy NAME; there are {', '.join(names)}")
    return names[0] if names else None
