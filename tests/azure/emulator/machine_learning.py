"""Azure Machine Learning's control plane: workspaces with what lies in them, and a region's sizes and quota."""

from __future__ import annotations

from tests.azure.emulator.ai_connections import AiConnections
from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.computes import Computes
from tests.azure.emulator.datastores import Datastores
from tests.azure.emulator.identity import Identity
from tests.azure.emulator.operations import Operations
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.quota import Quota
from tests.azure.emulator.quota_requests import QuotaRequests
from tests.azure.emulator.resources import Resources
from tests.azure.emulator.routing import Router
from tests.azure.emulator.workspaces import Workspaces
from tests.azure.emulator.world import World


class MachineLearning:
    """The services that make one provider; ``quota`` is for who runs nodes."""

    def __init__(
        self,
        world: World,
        identity: Identity,
        resources: Resources,
        operations: Operations,
        providers: Providers,
        blobs: Blobs,
    ) -> None:
        self.quota = Quota(world, providers)
        datastores = Datastores(resources, blobs)
        self._services = (
            self.quota,
            QuotaRequests(world, self.quota, providers, operations),
            datastores,
            Workspaces(world, identity, resources, operations, providers, datastores),
            Computes(identity, resources, providers, self.quota),
            AiConnections(resources),
        )

    def add_routes(self, router: Router) -> None:
        """Register those of every service."""
        for service in self._services:
            service.add_routes(router)
