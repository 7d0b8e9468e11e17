"""What a test needs and a newcomer's machine may lack: without it the test is skipped, but never where all must run."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str, *, requirement: str) -> NoReturn:
    """Skip with the reason; fail where CI is true, or PHI3FLOW_REQUIRE_<requirement> is 1."""
    if os.environ.get("CI") == "true" or os.environ.get(f"PHI3FLOW_REQUIRE_{requirement}") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
