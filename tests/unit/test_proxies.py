"""Loopback goes through no proxy, under whatever name that and its exceptions are set."""

from __future__ import annotations

import pytest

from phi3flow.proxies import is_loopback, loopback_exempted

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_without_a_proxy_nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "intranet")
    assert loopback_exempted() == {}


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "ALL_PROXY"])
def test_what_was_exempt_stays_under_either_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://proxy:3128")
    monkeypatch.setenv("no_proxy", "a.example, localhost,")
    monkeypatch.setenv("NO_PROXY", ".b.example")
    hosts = "a.example,localhost,.b.example,127.0.0.1,::1"
    assert loopback_exempted() == {"no_proxy": hosts, "NO_PROXY": hosts}


@pytest.mark.parametrize(
    ("host", "is_here"),
    [
        *(("127.0.0.1", True), ("127.3.2.1", True), ("::1", True), ("localhost", True), ("a.localhost", True)),
        *(("10.0.0.1", False), ("localhost.example", False), ("", False), ("127.0.0.1.example", False)),
    ],
)
def test_a_host_is_this_machine(host: str, is_here: bool) -> None:
    assert is_loopback(host) is is_here
