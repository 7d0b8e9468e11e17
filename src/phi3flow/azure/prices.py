"""Hourly prices of VM sizes, from Azure's Retail Prices API: public, without an account, in US dollars.

Source: https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

from __future__ import annotations

from typing import Any

from phi3flow.azure.arm import USER_AGENT

URL = "https://prices.azure.com/api/retail/prices"
TIMEOUT_S = 10.0


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
    """Say what an hour of so many VMs costs, as a question to the user puts it."""
    price = hourly_price(size, location)
    cost = "at an unknown price" if price is None else f"{price * count:.2f} dollars"
    return f"{count} x {size}, {cost} an hour"


def _is_plain_linux(item: dict[str, Any]) -> bool:
    """Whether a row is of an ordinary VM: neither Windows nor spot nor low priority."""
    words = f"{item.get('skuName', '')} {item.get('meterName', '')}"
    return (
        item.get("unitOfMeasure") == "1 Hour"
        and "Windows" not in str(item.get("productName", ""))
        and "Spot" not in words
        and "Low Priority" not in words
    )
