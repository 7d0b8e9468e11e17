"""What a job in the cloud is called, after its content, so that the same command finds it again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from phi3flow.azure.tags import TAGS
from phi3flow.azure.workspace.catalog import CatalogAsset
from phi3flow.azure.workspace.jobs import CANCELED, FAILED
from phi3flow.backends.backend import FineTuneRequest
from phi3flow.errors import ConfigError
from phi3flow.storage.jsonl import file_sha256
from phi3flow.text import shorten

LONGEST_SUFFIX = 18
"""What Azure OpenAI takes of a suffix."""
_AGAIN = frozenset({FAILED, CANCELED})
"""A job's name cannot be used twice: after one of these the next attempt gets a number."""


def name_job(model: str, decisive: Mapping[str, Any], *, suffix: str | None = None) -> str:
    """Name a job after its model and everything that decides the result, so that the same command finds it again.

    A ``suffix``, as ``check_suffix`` takes it, stands whole before the hash, which it decides too.
    """
    canonical = json.dumps({**decisive, **({"suffix": suffix} if suffix else {})}, sort_keys=True, default=str)
    words = (_slug(model)[:40] or "phi3", _slug(suffix or ""), hashlib.sha256(canonical.encode()).hexdigest()[:8])
    return "-".join(filter(None, words))


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def check_suffix(suffix: str | None) -> None:
    """Raise ConfigError for a suffix that no service takes: at most 18 letters, digits, '-' and '_', and no dot."""
    if suffix is not None and not re.fullmatch(rf"[A-Za-z0-9_-]{{1,{LONGEST_SUFFIX}}}", suffix):
        raise ConfigError(
            f"--suffix {shorten(suffix)!r}: is 1 to {LONGEST_SUFFIX} letters, digits, '-' and '_'; Azure takes no dot"
        )


def next_attempt(name: str, status_of: Callable[[str], str | None]) -> tuple[str, str | None]:
    """Return the attempt at a job that runs, has completed or comes next, and its status."""
    number, attempt = 1, name
    while (status := status_of(attempt)) in _AGAIN:
        number += 1
        attempt = f"{name}-{number}"
    return attempt, status


def job_tags(request: FineTuneRequest, model: CatalogAsset, *, recipe: str) -> dict[str, str]:
    """Return what a job, and the model that it makes, tell of where they come from."""
    hashes = {f"{split}_sha256": file_sha256(path) for split, path in request.files.items()}
    return {**hashes, "base_model": f"{model.name}:{model.version}", "recipe": recipe, **TAGS}
