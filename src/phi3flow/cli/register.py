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

from phi3flow.cli.arguments import add_backend
from phi3flow.cli.terminal.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("job", metavar="JOB", nargs="?", help="the job whose model it is (default: the latest)")
    add_backend(parser)
    parser.add_argument("--name", help="the model's name (default: after the output folder, or the base model)")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.backends.choice import open_backend

    model = open_backend(args.backend).register(args.job, name=args.name, flow_version=_flow_version())
    terminal.result({"model": model.name, "version": model.version}, f"{model.name}, version {model.version}")
    return 0


def _flow_version() -> str | None:
    """Return name, version (its tag of this name) and fingerprint of the project's chat flow; None without one."""
    from phi3flow.flows import load_flow
    from phi3flow.project.paths import CHAT_FLOW

    if not (CHAT_FLOW / "flow.dag.yaml").is_file():
        return None
    flow = load_flow(CHAT_FLOW)
    version = (flow.definition.get("tags") or {}).get("version")
    return "-".join([flow.name, *([str(version)] if version else []), flow.fingerprint[:8]])
