"""How fast a deployment may be asked, and the headers that tell."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from typing import Any

from tests.azure.emulator.openai.refusals import DataPlaneError
from tests.azure.emulator.world import World

_REQUESTS_PER_CAPACITY, _TOKENS_PER_CAPACITY = 6, 1000


class RateLimits:
    """The chats of late, by deployment."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._times: defaultdict[str, list[float]] = defaultdict(list)

    def take(self, deployment: dict[str, Any]) -> dict[str, str]:
        """Count a chat and return its answer's headers. Raises DataPlaneError 429 where it is one too many."""
        now, window_s = time.monotonic(), self._world.openai_rate_window_s
        times = self._times[deployment["id"].lower()]
        times[:] = [at for at in times if now - at < window_s]
        limit = self._world.openai_rpm
        if limit is not None and len(times) >= limit:
            raise self._too_many(times[0] + window_s - now, limit, deployment)
        times.append(now)
        tokens = deployment["sku"]["capacity"] * _TOKENS_PER_CAPACITY
        most = deployment["sku"]["capacity"] * _REQUESTS_PER_CAPACITY if limit is None else limit
        return {
            "x-ratelimit-limit-requests": str(most),
            "x-ratelimit-remaining-requests": str(max(0, most - len(times))),
            "x-ratelimit-limit-tokens": str(tokens),
            "x-ratelimit-remaining-tokens": str(tokens),
        }

    def _too_many(self, wait_s: float, limit: int, deployment: dict[str, Any]) -> DataPlaneError:
        seconds = math.ceil(wait_s)
        error = DataPlaneError(
            429,
            "RateLimitReached",
            f"Your requests to {deployment['name']} for {deployment['properties']['model']['name']} have exceeded the "
            f"call rate limit for your current OpenAI S0 pricing tier. Please retry after {seconds} seconds. To "
            "increase your default rate limit, visit: https://aka.ms/oai/quotaincrease.",
        )
        error.headers = {
            "Retry-After": str(seconds),
            "retry-after-ms": str(math.ceil(wait_s * 1000)),
            "x-ratelimit-limit-requests": str(limit),
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-limit-tokens": str(deployment["sku"]["capacity"] * _TOKENS_PER_CAPACITY),
            "x-ratelimit-remaining-tokens": str(deployment["sku"]["capacity"] * _TOKENS_PER_CAPACITY),
        }
        return error
