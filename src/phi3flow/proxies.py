"""Proxies that the environment names, as machines in companies need them: this machine is reached without one."""

from __future__ import annotations

import ipaddress
import os

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_NAMES = ("http_proxy", "https_proxy", "all_proxy")
_EXEMPT = ("no_proxy", "NO_PROXY")


def loopback_exempted() -> dict[str, str]:
    """Return the variables that leave loopback out of the proxies that are set; none where none is.

    Both names get the hosts of both: who knows one name only would miss those of the other.
    """
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _NAMES):
        return {}
    named = [host.strip() for name in _EXEMPT for host in os.environ.get(name, "").split(",")]
    return dict.fromkeys(_EXEMPT, ",".join(dict.fromkeys([*filter(None, named), *_LOOPBACK])))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: localhost, or an address of its loopback interface."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
