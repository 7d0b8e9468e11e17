"""The page's script and style, and the Content-Security-Policy that seals them.

The file asks the network for nothing: style, script and data are inside. The policy names the one script and
the one style by their hash, so that nothing else can run even where a text slipped through the escaping; and
it forbids the script itself to turn text into HTML (``require-trusted-types-for``). Only the page that follows a
running run may ask a server, its own, whether there is a newer one.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources

_SCRIPTS = (
    "text.js",
    "values.js",
    "data.js",
    "line.js",
    "conversation.js",
    "trace.js",
    "list.js",
    "export.js",
    "page.js",
)
_LIVE_SCRIPT = "live.js"
_STYLES = ("report.css", "lines.css", "narrow.css")


@dataclass(frozen=True)
class PageCode:
    """All that may run in a page, and the ``policy`` that says so."""

    script: str
    style: str
    policy: str


def read_page_code(*, live: bool) -> PageCode:
    """Return the code of a page; that of a ``live`` one looks for newer ones."""
    script = "".join(_asset(name) for name in (*_SCRIPTS, *([_LIVE_SCRIPT] if live else [])))
    style = "".join(_asset(name) for name in _STYLES)
    connect = "connect-src 'self'; " if live else ""
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; img-src data:; {connect}"
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
    return PageCode(script, style, policy)


def _asset(name: str) -> str:
    return (resources.files("phi3flow.report") / "assets" / name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"
