"""Deploy a model as an endpoint, and wait until it answers.

MODEL is a model's folder or the name of a registered model, NAME or NAME:VERSION; without it, the model that was
fine-tuned or registered last. On this machine the endpoint runs in the background and outlives the terminal.

In Azure Machine Learning each version of a model gets a deployment of its own at the endpoint of phi3flow.toml. It is
asked a question before it gets traffic; if it fails, it is deleted again and the traffic stays where it was. With
--traffic 10 a new version gets a tenth of the requests, the others the rest. It costs by the hour from now on:
`phi3flow undeploy` ends it.

Examples:
  export PHI3_KEY=$(openssl rand -hex 16)
  phi3flow deploy --backend local
  phi3flow deploy --backend local models/phi3-support --name support --port 8000
  phi3flow deploy --backend azureml --yes
  phi3flow deploy --backend azureml phi3-support:4 --traffic 10
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from phi3flow.cli.arguments import percentage
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import ConfigError

if TYPE_CHECKING:
    from phi3flow.project.state import EndpointState, ProjectState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("model", metavar="MODEL[:VERSION]", nargs="?", help="model to deploy (default: the latest)")
    parser.add_argument("--backend", choices=("local", "azureml"), default="local", help="where (default: local)")
    parser.add_argument("--name", help="the endpoint's name (default: after the model's folder, or phi3flow.toml's)")
    local = parser.add_argument_group("local")
    local.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    local.add_argument("--port", type=int, default=0, help="port to listen on (default: any free one)")
    local.add_argument(
        "--key-env",
        metavar="VAR",
        default="PHI3_KEY",
        help="variable of the environment or .env that holds the endpoint's key (default: %(default)s)",
    )
    local.add_argument(
        "--timeout-s", type=float, default=120.0, help="wait so long for the model to load (default: %(default)g)"
    )
    cloud = parser.add_argument_group("azureml")
    cloud.add_argument(
        "--traffic",
        type=percentage,
        default=100.0,
        metavar="PCT",
        help="what the deployment gets of the endpoint's requests (default: 100)",
    )
    cloud.add_argument("--yes", action="store_true", help="deploy without asking: an endpoint costs money")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    endpoint = _deploy_in_cloud(args, terminal) if args.backend == "azureml" else _deploy_here(args, terminal)
    if endpoint is None:
        return 1
    shown = endpoint.model_dump(include={"backend", "endpoint", "deployment", "url", "traffic"})
    terminal.result(shown, f"{endpoint.endpoint} answers at {endpoint.url}")
    return 0


def _deploy_here(args: argparse.Namespace, terminal: Terminal) -> EndpointState:
    from phi3flow.backends.local.endpoints import LocalBackend
    from phi3flow.project import state

    model = _find_model(args.model, state.load())
    name = args.name or _name_after(model)
    terminal.note(f"deploying {model} as {name} …")
    return LocalBackend().deploy(
        model, name=name, host=args.host, port=args.port, key_env=args.key_env, timeout_s=args.timeout_s
    )


def _deploy_in_cloud(args: argparse.Namespace, terminal: Terminal) -> EndpointState | None:
    """Deploy to Azure Machine Learning; None where the question was answered with no."""
    from phi3flow.azure.prices import describe_cost
    from phi3flow.backends.azureml import AzureMLBackend

    if args.traffic != int(args.traffic):
        raise ConfigError(f"--traffic {args.traffic:g}: Azure takes whole percentages")
    backend = AzureMLBackend()
    planned = backend.plan_deployment(args.model, name=args.name)
    for warning in planned.warnings:
        terminal.note(str(warning))
    if not planned.exists and not args.yes:
        settings = backend.settings
        cost = describe_cost(settings.deployment_size, settings.location, settings.instances)
        if not terminal.confirm(f"Deploy {planned.model} on {cost}?", yes=False):
            return None
    endpoint = backend.deploy(planned, traffic=int(args.traffic), on_note=terminal.note)
    if not endpoint.traffic:
        terminal.note(f"warning: deployment {endpoint.deployment} has 0 % of the traffic: it costs, and serves nobody")
    return endpoint


def _find_model(reference: str | None, made: ProjectState) -> Path:
    """Return the folder of the model that is meant."""
    if reference is None:
        jobs = [(job.created_at, job.output) for job in made.jobs if job.backend == "local" and job.output]
        models = [(model.created_at, model.source) for model in made.models if model.backend == "local"]
        if not jobs and not models:
            raise ConfigError(
                "no model was fine-tuned or registered here yet: phi3flow deploy MODEL, or fine-tune first"
            )
        return Path(max(jobs + models)[1])
    if Path(reference).is_dir():
        return Path(reference)
    for model in reversed(made.models):
        if model.backend == "local" and reference in (model.name, f"{model.name}:{model.version}"):
            return Path(model.source)
    known = ", ".join(f"{model.name}:{model.version}" for model in made.models if model.backend == "local")
    raise ConfigError(
        f"{reference} is neither a model's folder nor a registered model"
        + (f"; registered are {known}" if known else "")
    )


def _name_after(model: Path) -> str:
    """Return the folder's name as an endpoint may bear it."""
    return re.sub(r"[^A-Za-z0-9]+", "-", model.resolve().name).strip("-0123456789")[:32] or "phi3"
