"""Delete an endpoint: it finishes what is in flight, then it is gone.

Without NAME the only endpoint there is. Asks first; --yes answers.

Examples:
  phi3flow undeploy
  phi3flow undeploy support --yes
"""

from __future__ import annotations

import argparse

from phi3flow.cli.terminal import Terminal
from phi3flow.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's flags."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="the endpoint (default: the only one)")
    parser.add_argument("--backend", choices=("local",), default="local", help="where (default: local)")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the verb."""
    from phi3flow.backends.local import LocalBackend

    backend = LocalBackend()
    name = args.name or _only([endpoint.endpoint for endpoint in backend.endpoints()])
    if not terminal.confirm(f"Delete the endpoint {name}?", yes=args.yes):
        return 1
    backend.undeploy(name)
    terminal.result({"backend": args.backend, "endpoint": name, "state": "deleted"}, f"deleted {name}")
    return 0


def _only(names: list[str]) -> str:
    if not names:
        raise ConfigError("nothing is deployed from here: `phi3flow status` shows what there is")
    if len(names) > 1:
        raise ConfigError(f"which one? phi3flow undeploy NAME; there are {', '.join(names)}")
    return names[0]
