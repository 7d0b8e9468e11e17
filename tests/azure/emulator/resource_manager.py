"""Azure Resource Manager: what all services of the subscription share, whatever they offer."""

from __future__ import annotations

from tests.azure.emulator.identity import Identity
from tests.azure.emulator.operations import Operations
from tests.azure.emulator.resources import Resources
from tests.azure.emulator.roles import Roles
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import World


class ResourceManager:
    """The world as it is, who asks and what they may do, what exists, and what is under way.

    A service takes from it what it needs, and is given nothing of other services by it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.identity = Identity(world)
        self.operations = Operations(world)
        self.resources = Resources(self.operations)
        self.roles = Roles(world, self.identity, self.resources)

    def add_routes(self, router: Router) -> None:
        """Register logins, operations and roles; resources are their providers'."""
        for service in (self.identity, self.operations, self.roles):
            service.add_routes(router)
