"""The two keys of an endpoint, which a caller may ask for and make anew."""

from __future__ import annotations

import secrets
from typing import Any

from tests.azure.emulator.bodies import need_one_of
from tests.azure.emulator.resources import Resources

_WHICH = {"Primary": "primaryKey", "Secondary": "secondaryKey"}


def keys_of(resources: Resources, endpoint_id: str) -> dict[str, str]:
    """Return an endpoint's two keys."""
    hidden = resources.hidden.setdefault(endpoint_id.lower(), {})
    new = {which: secrets.token_urlsafe(24) for which in _WHICH.values()}
    keys: dict[str, str] = hidden.setdefault("keys", new)
    return keys


def regenerate_key(resources: Resources, endpoint_id: str, body: dict[str, Any]) -> None:
    """Set the key that a body names to the value that it gives, or to a new one. Raises ServiceError 400."""
    which = _WHICH[need_one_of(body, "keyType", _WHICH)]
    keys_of(resources, endpoint_id)[which] = body.get("keyValue") or secrets.token_urlsafe(24)
