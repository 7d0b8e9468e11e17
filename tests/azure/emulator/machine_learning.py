"""Azure Machine Learning's control plane: workspaces with what lies in them, and a region's sizes and quota."""

from __future__ import annotations

from tests.azure.emulator.ai_connections import AiConnections
from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.computes import Computes
from tests.azure.emulator.datastores import Datastores
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.quota import Quota
from tests.azure.emulator.quota_requests import QuotaRequests
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspaces import Workspaces


class MachineLearning:
    """The services that make one provider; ``quota`` and ``computes`` are for who runs nodes."""

    def __init__(self, arm: ResourceManager, providers: Providers, blobs: Blobs) -> None:
        self.quota = Quota(arm.world, providers)
        self.computes = Computes(arm, providers, self.quota)
        datastores = Datastores(arm.resources, blobs)
        self._services = (
            self.quota,
            QuotaRequests(arm, providers, self.quota),
            datastores,
            Workspaces(arm, providers, datastores),
            self.computes,
            AiConnections(arm.resources),
        )

    def add_routes(self, router: Router) -> None:
        """Register those of every service."""
        for service in self._services:
            service.add_routes(router)
