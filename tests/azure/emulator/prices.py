"""prices.azure.com: what VM sizes cost, to anybody, with rows of every kind mixed as the API mixes them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.proxy import ConnectionReset
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import VmSize, World

PRICES = "prices.azure.com"
_TERM = re.compile(r"\s*(\w+) eq '((?:[^']|'')*)'\s*")
_FIELDS = {
    name: name
    for name in (
        "armRegionName",
        "meterId",
        "meterName",
        "productName",
        "skuName",
        "serviceName",
        "serviceId",
        "serviceFamily",
        "armSkuName",
    )
} | {"priceType": "type"}
"""What can be filtered by, and what that is called in a row."""


class Prices:
    """The Retail Prices API; where ``world.prices_reachable`` is not so, connections are reset."""

    def __init__(self, world: World) -> None:
        self._world = world

    def add_routes(self, router: Router) -> None:
        """Register the one thing that can be asked."""
        router.add("GET", "/api/retail/prices", self._list, host=PRICES)

    def _list(self, request: Request) -> Reply:
        if not self._world.prices_reachable:
            raise ConnectionReset
        wanted = _parse(request.query.get("$filter", ""))
        rows = [
            row
            for region, sizes in self._world.sizes.items()
            for size in sizes
            for row in _rows(size, region)
            if all(row[name] == value for name, value in wanted)
        ]
        answer = {"BillingCurrency": "USD", "CustomerEntityId": "Default", "CustomerEntityType": "Retail"}
        return Reply(200, {**answer, "Items": rows, "NextPageLink": None, "Count": len(rows)})


def _parse(text: str) -> list[tuple[str, str]]:
    """Return the (field, value) pairs of an OData conjunction. Raises ServiceError 400 for any other filter."""
    if not text.strip():
        return []
    terms = []
    for part in re.split(r" and (?=\s*\w+ eq ')", text):
        found = _TERM.fullmatch(part)
        if found is None or found[1] not in _FIELDS:
            raise ServiceError(400, "BadRequest", f"Invalid OData parameters supplied: {part.strip()!r}")
        terms.append((_FIELDS[found[1]], found[2].replace("''", "'")))
    return terms


def _rows(size: VmSize, region: str) -> Iterator[dict[str, Any]]:
    """Give a size's prices: Windows costs more, Spot and Low Priority less, and a reservation is paid for years."""
    series = f"Virtual Machines {size.family.removeprefix('Standard ').removesuffix(' Family')} Series"
    for system, price in ((" Windows", size.price + 0.046 * size.cores), ("", size.price)):
        for kind, share in ((" Spot", 0.18), (" Low Priority", 0.2), ("", 1.0)):
            yield _row(size, region, product=series + system, kind=kind, price=price * share)
    yield {**_row(size, region, product=series, kind="", price=size.price * 5600), "type": "Reservation"} | {
        "reservationTerm": "1 Year"
    }
    yield {**_row(size, region, product=f"{series} Windows", kind="", price=size.price), "type": "DevTestConsumption"}


def _row(size: VmSize, region: str, *, product: str, kind: str, price: float) -> dict[str, Any]:
    sku = size.name.removeprefix("Standard_").replace("_", " ") + kind
    return {
        "currencyCode": "USD",
        "tierMinimumUnits": 0.0,
        "retailPrice": round(price, 6),
        "unitPrice": round(price, 6),
        "armRegionName": region,
        "effectiveStartDate": "2024-01-01T00:00:00Z",
        "meterId": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{region} {product} {sku}")),
        "meterName": sku,
        "productName": product,
        "skuName": sku,
        "serviceName": "Virtual Machines",
        "serviceId": "DZH313Z7MMC8",
        "serviceFamily": "Compute",
        "unitOfMeasure": "1 Hour",
        "type": "Consumption",
        "isPrimaryMeterRegion": True,
        "armSkuName": size.name,
    }
