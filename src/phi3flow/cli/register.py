"""Register a fine-tuned model, so that it has a name and a version and can be deployed by them.

JOB is a fine-tuning job's name; without it, the latest that completed. On this machine the registry is MLflow's:
MLFLOW_TRACKING_URI, else mlflow.db in the working directory. Weights that are registered already keep their version.

Examples:
  phi3flow register
  phi3flow register fine-tuned-1a2b3c4d --name phi3-support
  mlflow ui --backend-store-uri sqlite:///mlflow.db
"""

from __future__ import annotations

import argparse

from phi3flow.cli.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("job", metavar="JOB", nargs="?", help="the job whose model it is (default: the latest)")
    parser.add_argument("--backend", choices=("local",), default="local", help="where (default: local)")
    parser.add_argument("--name", help="the registered model's name (default: after the job's output folder)")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.backends.local import LocalBackend

    model = LocalBackend().register(args.job, name=args.name)
    terminal.result({"model": model.name, "version": model.version}, f"{model.name}, version {model.version}")
    return 0
