"""Register a fine-tuned model, so that it has a name and a version and can be deployed by them.

JOB is a fine-tuning job's name; without it, the latest that completed. On this machine the registry is MLflow's:
MLFLOW_TRACKING_URI, else mlflow.db in the working directory. In Azure Machine Learning it is the workspace's; tags say
which job, data, base model and version of flows/chat_phi3 a model comes from. What is registered already keeps its
version.

Examples:
  phi3flow register
  phi3flow register fine-tuned-1a2b3c4d --name phi3-support
  phi3flow register --backend azureml --name phi3-support
  mlflow ui --backend-store-uri sqlite:///mlflow.db
"""

from __future__ import annotations

import argparse

from phi3flow.cli.terminal.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("job", metavar="JOB", nargs="?", help="the job whose model it is (default: the latest)")
    parser.add_argument("--backend", choices=("local", "azureml"), default="local", help="where (default: local)")
    parser.add_argument("--name", help="the model's name (default: after the output folder, or the base model)")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    if args.backend == "azureml":
        from phi3flow.backends.azureml import AzureMLBackend

        model = AzureMLBackend().register(args.job, name=args.name, flow=_flow_version())
    else:
        from phi3flow.backends.local.endpoints import LocalBackend

        model = LocalBackend().register(args.job, name=args.name)
    terminal.result({"model": model.name, "version": model.version}, f"{model.name}, version {model.version}")
    return 0


def _flow_version() -> str | None:
    """Return the version and fingerprint of the project's chat flow, None where the project has none."""
    from phi3flow.flows import load_flow
    from phi3flow.project.paths import CHAT_FLOW

    if not (CHAT_FLOW / "flow.dag.yaml").is_file():
        return None
    flow = load_flow(CHAT_FLOW)
    return f"{flow.name}-{flow.fingerprint[:8]}"
