"""What an emulated Azure holds, written so that two of them can be compared."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.azure.emulator.azure import AzureEmulator

_GUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[\d.]*(Z|\+00:00)")


def snapshot(azure: AzureEmulator) -> list[str]:
    """Return every resource as text, without times and with every GUID alike; one that is doubled is there twice."""
    texts = (json.dumps(each, sort_keys=True) for each in azure.resources)
    return sorted(_TIME.sub("<time>", _GUID.sub("<guid>", text)) for text in texts)


def resource(azure: AzureEmulator, kind: str, name: str | None = None) -> dict[str, Any]:
    """Return the only resource of a kind such as Microsoft.Storage/storageAccounts, or the one of that name."""
    found = [each for each in azure.resources if each["type"] == kind and name in (None, each["name"])]
    assert len(found) == 1, f"{kind}: {[each['id'] for each in found]}"
    return found[0]
