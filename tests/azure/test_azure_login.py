"""Who is logged in: a service principal in the other tests, and here the managed identity of a machine in Azure."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.support.command_line import phi3flow

HEADER = "header-of-the-machine"


class _IdentityEndpoint(BaseHTTPRequestHandler):
    """What App Service and Azure ML give their processes in IDENTITY_ENDPOINT."""

    azure: AzureEmulator

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        allowed = self.headers.get("X-IDENTITY-HEADER") == HEADER
        token = {"access_token": self.azure.identity.mint(asked["resource"][0]), "expires_on": "4102444800"}
        content = json.dumps({**token, "token_type": "Bearer"} if allowed else {"error": "forbidden"}).encode()
        self.send_response(200 if allowed else 403)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""


def test_a_managed_identity_logs_in(azure: AzureEmulator, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID"):
        monkeypatch.delenv(name)
    handler = type("Handler", (_IdentityEndpoint,), {"azure": azure})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", HEADER)
        done = phi3flow("azure", "plan", cwd=project)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert not [each for each in azure.requests if each.host == "login.microsoftonline.com"]
    assert any(each.host == "management.azure.com" for each in azure.requests)
