"""The command ``phi3flow``: finds the verb, runs it, turns errors into messages and exit codes.

Exit codes: 0 success; 1 lines failed or a gate not met; 2 usage, configuration or data; 3 backend;
130 interrupted, 143 and 129 by SIGTERM and SIGHUP, 141 where nobody reads the output any more.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Sequence

from phi3flow import __version__
from phi3flow.cli.terminal.terminal import Terminal
from phi3flow.errors import Interrupted, Phi3flowError, StorageError
from phi3flow.proxies import loopback_exempted

VERBS = {
    "quickstart": "do the whole job on this machine, from data to report",
    "prepare-data": "make train, validation and test files out of a dataset",
    "check-data": "list every breach of the data format, with token statistics",
    "azure": "make, show or delete what a project needs in Azure",
    "fine-tune": "fine-tune a model",
    "cancel": "end a cloud job",
    "register": "register a fine-tuned model",
    "deploy": "deploy a model as an endpoint",
    "undeploy": "delete an endpoint or a deployment",
    "status": "show jobs, models and endpoints, and what is alive",
    "serve": "serve a model on this machine",
    "connect": "write a connection to an endpoint",
    "chat": "talk to the flow in the terminal",
    "batch-run": "run a flow over every line of a file",
    "score": "score a run with evaluation flows",
    "compare": "compare two runs line by line",
    "report": "write one HTML file about runs",
    "gate": "hold a run to rules, for a pull request's check",
    "publish": "publish a flow",
    "runs": "list, show or delete runs",
}


def build_parser(verb: str | None = None) -> argparse.ArgumentParser:
    """Return the parser; with ``verb``, only that verb's arguments are built (the others keep their summary)."""
    parser = argparse.ArgumentParser(
        prog="phi3flow",
        description="A Prompt flow package with an evaluation harness.",
        epilog="Results go to stdout, progress to stderr. phi3flow VERB --help explains a verb.",
    )
    parser.add_argument("--version", action="version", version=f"phi3flow {__version__}")
    subparsers = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, summary in VERBS.items():
        subparser = subparsers.add_parser(name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name == verb:
            module = _verb_module(name)
            subparser.description = module.__doc__
            for leaf in module.add_arguments(subparser) or [subparser]:
                _add_common_arguments(leaf)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    gc.set_threshold(100_000, 50, 50)  # records are many and without cycles: to search them takes longer than to read
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in arguments if word in VERBS), None)
    try:
        args = build_parser(verb).parse_args(arguments)
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 2
    terminal = Terminal(json_output=args.json, quiet=args.quiet)
    os.environ.update(loopback_exempted())
    try:
        return int(_verb_module(args.verb).run(args, terminal))
    except Phi3flowError as error:
        if args.debug:
            raise
        terminal.error(str(error))
        return error.exit_code
    except BrokenPipeError:
        raise
    except OSError as error:
        if args.debug or not error.filename:
            raise
        terminal.error(f"{error.filename}: {error.strerror}")
        return StorageError.exit_code
    except KeyboardInterrupt as error:
        terminal.error(str(error) or "interrupted")
        return error.exit_code if isinstance(error, Interrupted) else 130


def _verb_module(verb: str):  # type: ignore[no-untyped-def]  # a module has no static type
    return importlib.import_module(f"phi3flow.cli.{verb.replace('-', '_')}")


def _add_common_arguments(parser: argparse.ArgumentParser) -> None:
    common = parser.add_argument_group("output")
    common.add_argument("--json", action="store_true", help="print the result as one JSON object")
    common.add_argument("--quiet", action="store_true", help="no progress")
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")


if __name__ == "__main__":
    sys.exit(main())
