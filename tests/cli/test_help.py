"""docs/cli.md is what --help says: change a flag, and run `python -m tests.cli.test_help` to write it anew."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
from collections.abc import Iterator

import pytest

from phi3flow.cli.main import VERBS, build_parser
from tests.support.paths import ROOT

DOCS = ROOT / "docs" / "cli.md"
HEADER = """# Commands

What `phi3flow VERB --help` prints. Results go to stdout, progress to stderr; `--json` prints one JSON object.
Exit codes: 0 success, 1 lines failed or a gate not met, 2 usage, configuration or data, 3 backend, 130 interrupted
(143 and 129 by SIGTERM and SIGHUP), 141 where nobody reads the output any more.
"""


ACTIONS = {"azure": ("plan", "up", "status", "down"), "runs": ("list", "show", "delete")}


def _help(*words: str) -> str:
    os.environ["COLUMNS"] = "120"
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.suppress(SystemExit):
        build_parser(words[0] if words else None).parse_args([*words, "--help"])
    return output.getvalue()


def _page() -> str:
    blocks = [f"## phi3flow\n\n```\n{_help()}```\n"]
    for verb in VERBS:
        blocks.append(f"## {verb}\n\n```\n{_help(verb)}```\n")
        blocks += [f"### {verb} {action}\n\n```\n{_help(verb, action)}```\n" for action in ACTIONS.get(verb, ())]
    return HEADER + _contents() + "\n" + "\n".join(blocks)


def _contents() -> str:
    entries = [f"- [{verb}](#{verb}): {summary}{_links_to_actions(verb)}\n" for verb, summary in VERBS.items()]
    return "\n" + "".join(entries)


def _links_to_actions(verb: str) -> str:
    links = [f"[{action}](#{verb}-{action})" for action in ACTIONS.get(verb, ())]
    return f" ({', '.join(links)})" if links else ""


def test_the_documentation_of_the_commands_is_their_help() -> None:
    assert DOCS.read_text(encoding="utf-8") == _page()


def _help_texts(parser: argparse.ArgumentParser, words: str) -> Iterator[tuple[str, str | None]]:
    """Yield each flag and argument of a parser and of those below it, by the words that lead there."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, subparser in action.choices.items():
                yield from _help_texts(subparser, f"{words} {name}")
        else:
            yield f"{words} {'/'.join(action.option_strings) or action.dest}", action.help


@pytest.mark.parametrize("verb", VERBS)
def test_every_flag_has_a_help_text(verb: str) -> None:
    verbs = next(action for action in build_parser(verb)._actions if isinstance(action, argparse._SubParsersAction))
    texts = dict(_help_texts(verbs.choices[verb], verb))
    assert len(texts) > 3
    assert [words for words, text in texts.items() if not text] == []


if __name__ == "__main__":
    DOCS.write_text(_page(), encoding="utf-8")
