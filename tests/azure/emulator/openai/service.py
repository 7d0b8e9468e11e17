"""Azure OpenAI as a whole: what AzureEmulator gives as ``openai``."""

from __future__ import annotations

from tests.azure.emulator.openai.accounts import Accounts
from tests.azure.emulator.openai.chat import AnswerChat, Chat
from tests.azure.emulator.openai.deployments import Deployments
from tests.azure.emulator.openai.entrance import Entrance
from tests.azure.emulator.openai.files import Files
from tests.azure.emulator.openai.jobs import FineTuningJobs
from tests.azure.emulator.openai.model_lists import ModelLists
from tests.azure.emulator.openai.model_routes import ModelRoutes
from tests.azure.emulator.openai.tuned_models import TunedModels
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import Router


class AzureOpenAI:
    """Accounts, deployments, files, jobs and chats; ``remove_idle`` does what the service does while time passes."""

    def __init__(self, arm: ResourceManager, providers: Providers, answer_chat: AnswerChat) -> None:
        world, self.models = arm.world, TunedModels()
        self.accounts = Accounts(arm, providers)
        self.deployments = Deployments(arm, self.models)
        self._lists = ModelLists(arm, providers, self.models, self.deployments.used)
        entrance = Entrance(arm, self.accounts)
        self.files = Files(world, entrance)
        self.jobs = FineTuningJobs(world, entrance, self.files, self.models, self.deployments)
        self._routes = ModelRoutes(world, entrance, self.models, self.deployments)
        self._chat = Chat(world, entrance, self.deployments, answer_chat)

    def add_routes(self, router: Router) -> None:
        """Register everything."""
        services = (self.accounts, self.deployments, self._lists, self.files, self.jobs, self._routes, self._chat)
        for service in services:
            service.add_routes(router)

    def remove_idle(self, idle_hours: float) -> list[str]:
        """Delete the deployments that nobody has asked for so many hours, and return their names; models stay."""
        return self.deployments.remove_idle(idle_hours)
