"""Hourly prices of VM sizes, from Azure's Retail Prices API: public, without an account, in US dollars.

Source: https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

from __future__ import annotations

from typing import Any

from phi3flow.azure.arm import USER_AGENT
from phi3flow.text import money

URL = "https://prices.azure.com/api/retail/prices"
TIMEOUT_S = 10.0
HOURS = 24
"""Of a day."""


def hourly_price(size: str, location: str) -> float | None:
    """Return what an hour of a Linux VM costs in a region, in dollars; None where the service does not say."""
    import requests

    conditions = {
        "serviceName": "Virtual Machines",
        "priceType": "Consumption",
        "armRegionName": location,
        "armSkuName": size,
    }
    question = " and ".join(f"{name} eq '{value}'" for name, value in conditions.items())
    try:
        answer = requests.get(URL, params={"$filter": question}, headers={"User-Agent": USER_AGENT}, timeout=TIMEOUT_S)
        answer.raise_for_status()
        items = answer.json()["Items"]
        prices = [float(item["retailPrice"]) for item in items if _is_plain_linux(item)]
    except (requests.RequestException, ValueError, KeyError, TypeError):
        return None
    return min(prices, default=None)


def describe_cost(size: str, location: str, count: int) -> str:
    """Say what so many VMs cost, as a question to the user puts it."""
    return f"{count} x {size}, {describe_price(hourly_price(size, location), count)}"


def describe_price(price: float | None, count: int) -> str:
    """Say what so many VMs of an hourly price cost, in dollars an hour and a day."""
    if price is None:
        return "at an unknown price"
    return f"{money(price * count)} dollars an hour ({money(price * count * HOURS)} a day)"


def _is_plain_linux(item: dict[str, Any]) -> bool:
    """Whether a row is of an ordinary VM: neither Windows nor spot nor low priority."""
    words = f"{item.get('skuName', '')} {item.get('meterName', '')}"
    return (
        item.get("unitOfMeasure") == "1 Hour"
        and "Windows" not in str(item.get("productName", ""))
        and "Spot" not in words
        and "Low Priority" not in words
    )
