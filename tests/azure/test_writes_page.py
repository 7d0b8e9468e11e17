"""docs/azure-writes.md says of every property that the verbs send who set it."""

from __future__ import annotations

import pytest

from tests.azure.check_azure import record
from tests.azure.emulator.messages import Request
from tests.azure.writes_page import DOCS, page


@pytest.mark.slow
def test_the_page_is_what_the_verbs_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_SPECS_DIR", raising=False)
    assert page(record()) == DOCS.read_text(encoding="utf-8")


def test_a_property_that_is_new_is_not_overlooked() -> None:
    host, path = (
        "management.azure.com",
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
    )
    listed = page([Request("PUT", host, path, body=b'{"location": "x", "properties": {"new": {"deep": [{"a": 1}]}}}')])
    assert "| `properties.new.deep.a` | phi3flow, first |" in listed
    with pytest.raises(LookupError, match=r"PATCH Microsoft.Storage/storageAccounts sends properties.new"):
        page([Request("PATCH", host, path, body=b'{"properties": {"new": 1}}')])
