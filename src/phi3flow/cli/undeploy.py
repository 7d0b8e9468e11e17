"""Delete an endpoint: it finishes what is in flight, then it is gone.

Without NAME the only endpoint there is, and nothing where there is none. In Azure Machine Learning --deployment deletes
one deployment of an endpoint, such as the old one after a new version has all the traffic. --model deletes a model; one
that is deployed is refused with the list. With --backend serverless and azure-openai --cascade deletes an endpoint and
then its model, or a model's deployments first, and with azure-openai the job and the files that it came from last. What
phi3flow did not make is refused, with the `az` command for it. Asks first; --yes answers.

Examples:
  phi3flow undeploy
  phi3flow undeploy support --yes
  phi3flow undeploy --backend azureml
  phi3flow undeploy --backend azureml --deployment phi3-support-3
  phi3flow undeploy --backend serverless --cascade
  phi3flow undeploy --backend serverless --model phi-4-mini-instruct-support-1a2b3c4d
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import add_backend
from phi3flow.cli.terminal.terminal import Terminal

if TYPE_CHECKING:
    from phi3flow.backends.backend import PlannedDeletion


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the endpoint (default: the only one)")
    add_backend(parser)
    target = parser.add_mutually_exclusive_group()
    target.add_argument("--deployment", metavar="NAME", help="azureml: only this deployment")
    target.add_argument("--model", metavar="MODEL[:VERSION]", help="delete a model in place of an endpoint")
    parser.add_argument(
        "--cascade",
        action="store_true",
        help="serverless, azure-openai: what stands on it first, or with an endpoint its model after it",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.backends.backend import DeletionRequest
    from phi3flow.backends.choice import open_backend
    from phi3flow.errors import ConfigError

    if args.name and args.model:
        raise ConfigError("--model takes the place of NAME: give one of them")
    backend = open_backend(args.backend)
    planned = backend.plan_deletion(DeletionRequest(args.name, args.deployment, args.model, args.cascade))
    if planned is None:
        terminal.result({"backend": backend.name, "endpoint": None, "state": "absent"}, "there is no endpoint")
        return 0
    if not terminal.confirm(f"Delete the {planned.label}?", yes=args.yes):
        return 1
    backend.undeploy(planned, on_note=terminal.note)
    data = {"backend": backend.name, **_names(planned, backend.has_deployments), "state": "deleted"}
    terminal.result(data, f"deleted the {planned.label}")
    return 0


def _names(planned: PlannedDeletion, has_deployments: bool) -> dict[str, object]:
    """Return what --json says was deleted."""
    deployment = {"deployment": planned.named("deployment")} if has_deployments else {}
    more = {"deleted": [part.label for part in planned.parts]} if len(planned.parts) > 1 else {}
    model = {"model": planned.named("model")} if planned.named("model") else {}
    return {"endpoint": planned.named("endpoint"), **deployment, **model, **more}
