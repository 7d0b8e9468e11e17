"""What Azure Machine Learning does without compute of the caller's: fine-tuning, endpoints, and what these stand on."""

from __future__ import annotations

from tests.azure.emulator.assets import Assets
from tests.azure.emulator.fine_tuning_jobs import FineTuningJobs
from tests.azure.emulator.fine_tuning_rules import FineTuningRules
from tests.azure.emulator.jobs import Jobs
from tests.azure.emulator.marketplace import MarketplaceSubscriptions
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.registry import Registry
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import Router
from tests.azure.emulator.scoring import AnswerChat
from tests.azure.emulator.serverless_chat import ServerlessChat
from tests.azure.emulator.serverless_endpoints import ServerlessEndpoints
from tests.azure.emulator.serverless_models import ServerlessModels


class Serverless:
    """The services that make it; its jobs are among ``jobs``, and ``answer_chat`` stands for the models."""

    def __init__(
        self,
        arm: ResourceManager,
        providers: Providers,
        assets: Assets,
        registry: Registry,
        jobs: Jobs,
        answer_chat: AnswerChat,
    ) -> None:
        FineTuningJobs(arm, assets, jobs, FineTuningRules(arm, providers, assets, registry))
        models = ServerlessModels(arm, registry)
        subscriptions = MarketplaceSubscriptions(arm, models)
        endpoints = ServerlessEndpoints(arm, assets, models, subscriptions)
        self._services = (subscriptions, endpoints, ServerlessChat(arm, endpoints, answer_chat))

    def add_routes(self, router: Router) -> None:
        """Register those of every service."""
        for service in self._services:
            service.add_routes(router)
