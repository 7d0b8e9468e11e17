"""What an endpoint says that it serves: its list of models, or the deployment that answers for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from phi3flow.proxies import is_loopback
from phi3flow.text import shorten

_WITHIN_S = 3.0
_MOST_BYTES = 1 << 20
_DEPLOYMENT = "azureml-model-deployment"
_ROUTES = re.compile(r"/(v1|score|chat/completions|completions)(/.*)?$")
_SAYS_NOTHING = (OSError, ValueError, http.client.HTTPException, RecursionError)
"""No such route, no JSON, no server: the run will say what is wrong with it."""
_TELLING = ("fingerprint", "root", "parent")  # what else of a model's entry says which one it is


def find_served(url: str, *, key: str, model: str | None) -> str | None:
    """Ask the endpoint at ``url`` what it serves: GET /v1/models, beside its route. None where it does not say.

    Of several models it is the one that is called ``model``; without one nothing is said. An Azure ML endpoint names
    the deployment that answered. Redirects are not followed: they would take the key elsewhere. Never takes longer
    than 3 s, whatever the server does, and never raises.
    """
    said: list[str] = []

    def ask() -> None:
        with contextlib.suppress(*_SAYS_NOTHING):
            said.extend(_ask(url, key, model))

    thread = threading.Thread(target=ask, daemon=True)  # a server that trickles is left behind
    thread.start()
    thread.join(_WITHIN_S)
    return ", ".join(list(said)) or None


def _ask(url: str, key: str, model: str | None) -> list[str]:
    headers = {"Authorization": f"Bearer {key}", "api-key": key} if key else {}
    request = urllib.request.Request(_models_url(url), headers=headers)
    try:
        response = _opener(url).open(request, timeout=_WITHIN_S)
    except urllib.error.HTTPError as error:
        response = error  # an answer as any other: it may name the deployment
    with response:
        deployment = response.headers.get(_DEPLOYMENT)
        named = [f"deployment {_printable(deployment, key)}"] if deployment else []
        entry = _entry(_read(response), model) if response.status == 200 else None
    if entry is None:
        return named
    told = [f"{name} {_printable(value, key)}" for name in _TELLING if isinstance(value := entry.get(name), str)]
    return [*named, _printable(entry["id"], key) + (f" ({', '.join(told)})" if told else "")]


def _read(response: Any) -> Any:
    """Return the JSON of an answer, None of one that is too long or too slow."""
    content, ends_at = b"", time.monotonic() + _WITHIN_S
    while (part := response.read1(1 << 16)) and time.monotonic() < ends_at and len(content) <= _MOST_BYTES:
        content += part
    return json.loads(content.decode("utf-8-sig")) if len(content) <= _MOST_BYTES and not part else None


def _entry(listed: Any, model: str | None) -> Mapping[str, Any] | None:
    models = listed.get("data") if isinstance(listed, dict) else None
    entries = [entry for entry in models or () if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    named = [entry for entry in entries if entry["id"] == model]
    chosen = named or (entries if len(entries) == 1 else [])
    return chosen[0] if chosen else None


def _models_url(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=_ROUTES.sub("", parts.path.rstrip("/")) + "/v1/models", fragment=""))


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    proxies = {} if is_loopback(urlsplit(url).hostname or "") else urllib.request.getproxies()
    return urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler(proxies))


def _printable(text: str, key: str) -> str:
    cut = text.replace(key, "***") if key else text
    return shorten("".join(char if char.isprintable() else " " for char in cut))
