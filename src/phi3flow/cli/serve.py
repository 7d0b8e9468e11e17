"""Serve a model folder on this machine, behind Azure ML's wire contract and OpenAI's protocol.

MODEL is a folder of the Phi-3 family or a LoRA adapter's folder, as fine-tune writes it. Concurrent requests are
answered in one batch; at temperature 0 the answer is the same, whoever else asks. One JSON line a request goes to
stderr, without contents. SIGTERM and Ctrl-C let the requests in flight finish.

Routes: POST /score; POST /v1/chat/completions; GET /v1/models, /health, /metrics (the last two without the key).

Examples:
  export PHI3_KEY=$(openssl rand -hex 16)
  phi3flow serve models/phi3-support
  phi3flow serve models/phi3-support --host 0.0.0.0 --port 9000 --key-env MY_KEY
  curl http://127.0.0.1:8000/score -H "Authorization: Bearer $PHI3_KEY" \\
    -d '{"input_data": {"input_string": [{"role": "user", "content": "Who founded Microsoft?"}], "parameters": {}}}'
"""

from __future__ import annotations

import argparse
from pathlib import Path

from phi3flow.cli.terminal.terminal import Terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("model", metavar="MODEL", type=Path, help="the model's folder")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port to listen on, 0 for any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--key-env",
        metavar="VAR",
        default="PHI3_KEY",
        help="variable of the environment or .env that holds the key which clients send (default: %(default)s)",
    )
    parser.add_argument("--name", help="name of the deployment (default: the folder's name)")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.connections.resolve import read_variable
    from phi3flow.serving.listening import bind
    from phi3flow.serving.loading import check_is_model

    key = read_variable(args.key_env).get_secret_value()
    check_is_model(args.model)
    listener = bind(args.host, args.port)
    from phi3flow.serving.server import serve  # takes seconds, so that what is wrong until here is told at once

    name = args.name or args.model.resolve().name

    def announce(url: str) -> None:
        terminal.result({"url": f"{url}/score", "deployment": name}, f"{name} answers at {url}/score and {url}/v1")

    serve(args.model, name=name, key=key, listener=listener, on_ready=announce)
    return 0
