"""Delete an endpoint: it finishes what is in flight, then it is gone.

Without NAME the only endpoint there is, and nothing where there is none. In Azure Machine Learning --deployment deletes
one deployment of an endpoint, such as the old one after a new version has all the traffic. What phi3flow did not make
is refused, with the `az` command for it. Asks first; --yes answers.

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
    planned = backend.plan_deletion(args.name, deployment=args.deployment)
    if planned is None:
        terminal.result({"backend": backend.name, "endpoint": None, "state": "absent"}, "there is no endpoint")
        return 0
    if not terminal.confirm(f"Delete the {planned.label}?", yes=args.yes):
        return 1
    backend.undeploy(planned.endpoint, deployment=planned.deployment, on_note=terminal.note)
    deployment = {"deployment": planned.deployment} if backend.has_deployments else {}
    data = {"backend": backend.name, "endpoint": planned.endpoint, **deployment, "state": "deleted"}
    terminal.result(data, f"deleted the {planned.label}")
    return 0
