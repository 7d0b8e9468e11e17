"""Deploy a model as an endpoint, and wait until it answers.

MODEL is a model's folder or the name of a registered model, NAME or NAME:VERSION; without it, the model that was
fine-tuned or registered last. On this machine the endpoint runs in the background and outlives the terminal.

In Azure Machine Learning MODEL is of the workspace, else of the registry: a base model is deployed as it is. Each
version of a model gets a deployment of its own at the endpoint of phi3flow.toml. It is asked a question before it gets
traffic; if it fails, it is deleted again and the traffic stays where it was. With --traffic 10 a new version gets a
tenth of the requests, the others the rest. It costs by the hour from now on: `phi3flow undeploy` ends it.

As a service (--backend serverless) MODEL is of the AI Foundry project, else of the registry: an endpoint on Azure's own
machines, one for each model, with content safety unless --content-safety off. A fine-tuned one is hosted by the hour.

In Azure OpenAI (--backend azure-openai) MODEL is a fine-tuned model, one of its checkpoints, or a base model; --name is
the deployment's. The default --sku costs nothing by the hour, and Azure removes it after 24 hours.

Examples:
  export PHI3_KEY=$(openssl rand -hex 16)
  phi3flow deploy --backend local
  phi3flow deploy --backend local models/phi3-support --name support --port 8000
  phi3flow deploy --backend azureml --yes
  phi3flow deploy --backend azureml phi3-support:4 --traffic 10
  phi3flow deploy --backend azureml Phi-4-mini-instruct --name phi3-base
  phi3flow deploy --backend serverless --yes
  phi3flow deploy --backend serverless Phi-4-mini-instruct
  phi3flow deploy --backend azure-openai --sku Standard --capacity 20 --yes
"""

from __future__ import annotations

import argparse

from phi3flow.cli.arguments import add_backend, percentage, positive_int
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.cli.terminal.timed_line import TimedLine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("model", metavar="MODEL[:VERSION]", nargs="?", help="model to deploy (default: the latest)")
    add_backend(parser)
    parser.add_argument("--name", help="the endpoint's name (default: after the model's folder, or phi3flow.toml's)")
    local = parser.add_argument_group("local")
    local.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    local.add_argument("--port", type=int, help="port to listen on (default: any free one)")
    local.add_argument(
        "--key-env",
        metavar="VAR",
        help="variable of the environment or .env that holds the endpoint's key (default: PHI3_KEY)",
    )
    local.add_argument("--timeout-s", type=float, help="wait so long for the model to load (default: 120)")
    _add_cloud(parser)


def _add_cloud(parser: argparse.ArgumentParser) -> None:
    cloud = parser.add_argument_group("in Azure")
    cloud.add_argument(
        "--traffic",
        type=percentage,
        default=100.0,
        metavar="PCT",
        help="azureml: what the deployment gets of the endpoint's requests (default: 100)",
    )
    cloud.add_argument(
        "--content-safety",
        choices=("on", "off"),
        default="on",
        help="serverless: whether Azure filters questions and answers (default: on)",
    )
    cloud.add_argument(
        "--sku",
        metavar="SKU",
        help="azure-openai: DeveloperTier, for a day and an evaluation; Standard, GlobalStandard … for use (default: "
        "DeveloperTier, of a base model GlobalStandard)",
    )
    cloud.add_argument(
        "--capacity",
        type=positive_int,
        metavar="N",
        help="azure-openai: thousands of tokens a minute (default: 50)",
    )
    cloud.add_argument(
        "--source", metavar="ACCOUNT", help="azure-openai: the resource that the model was trained in, if another"
    )
    cloud.add_argument("--yes", action="store_true", help="deploy without asking: an endpoint costs money")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.backends.backend import DeploymentRequest
    from phi3flow.backends.choice import open_backend

    backend = open_backend(args.backend)
    request = DeploymentRequest(
        model=args.model,
        name=args.name,
        host=args.host,
        port=args.port,
        key_env=args.key_env,
        timeout_s=args.timeout_s,
        traffic=args.traffic,
        content_safety=args.content_safety == "on",
        sku=args.sku,
        capacity=args.capacity,
        source=args.source,
    )
    planned = backend.plan_deployment(request)
    for warning in planned.warnings:
        terminal.note(warning)
    question = f"Deploy {planned.model} on {planned.cost()}?" if planned.cost and not args.yes else ""
    if question and not terminal.confirm(question, yes=False):
        return 1
    with TimedLine(terminal) as line:
        endpoint = backend.deploy(planned, on_note=line.note)
    if not endpoint.traffic:
        terminal.note(f"warning: deployment {endpoint.deployment} has 0 % of the traffic: it costs, and serves nobody")
    data = endpoint.model_dump(include={"backend", "endpoint", "deployment", "url", "traffic"})
    terminal.result(data, f"{endpoint.endpoint} answers at {endpoint.url}")
    return 0
