"""The emulated Azure: one process that answers for every host an SDK talks to, keeps state and records requests.

    with AzureEmulator(tmp_path) as azure:
        subprocess.run(["phi3flow", "azure", "up"], env={**os.environ, **azure.environment})
        assert azure.resources.find("/subscriptions/…")

It was written from the services' documents, their OpenAPI files and the SDKs' sources, not from the services.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.azure.emulator.assets import Assets
from tests.azure.emulator.authority import Authority
from tests.azure.emulator.blobs import Blobs
from tests.azure.emulator.data_plane import DataPlane
from tests.azure.emulator.deployments import Deployments
from tests.azure.emulator.fine_tuning_rules import FINE_TUNING_JOB
from tests.azure.emulator.flow_folders import FlowFolders
from tests.azure.emulator.identity import LOGIN
from tests.azure.emulator.job_history import JobHistory
from tests.azure.emulator.jobs import Job, Jobs
from tests.azure.emulator.machine_learning import MachineLearning
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.online_endpoints import OnlineEndpoints
from tests.azure.emulator.openai.service import AzureOpenAI
from tests.azure.emulator.pipeline_rules import PipelineRules
from tests.azure.emulator.prices import PRICES, Prices
from tests.azure.emulator.prompt_flow_service import PromptFlowService
from tests.azure.emulator.providers import Providers
from tests.azure.emulator.proxy import ConnectionReset, PlainHost, Proxy
from tests.azure.emulator.registry import Registry
from tests.azure.emulator.resource_manager import ResourceManager
from tests.azure.emulator.routing import ARM, Router
from tests.azure.emulator.scoring import AnswerChat, Scoring, chat_messages, echo
from tests.azure.emulator.serverless import Serverless
from tests.azure.emulator.world import CLIENT, CLIENT_SECRET, SUBSCRIPTION, TENANT, World

Fault = Callable[[Request], Reply | None]


class AzureEmulator:
    """Azure behind a proxy, as a context manager.

    ``requests`` holds every request that was received, in order. ``fault`` may answer a request in place of the
    service, or raise ConnectionReset; ``after_write`` is called once a write was carried out, before its answer goes
    out. ``answer_chat`` stands for the models behind online endpoints and Azure OpenAI's deployments.
    """

    def __init__(self, folder: Path, world: World | None = None) -> None:
        self.requests: list[Request] = []
        self.fault: Fault = lambda _: None
        self.after_write: Callable[[Request], None] = lambda _: None
        self.answer_chat: AnswerChat = echo
        arm = ResourceManager(world or World())
        self.world, self.identity, self.resources, self.roles = arm.world, arm.identity, arm.resources, arm.roles
        self.providers = Providers(arm)
        self.blobs = Blobs(arm)
        self.assets = Assets(self.resources, self.blobs)
        registry = Registry(arm)
        self.machine_learning = MachineLearning(arm, self.providers, self.blobs)
        quota = self.machine_learning.quota
        folders = FlowFolders(self.resources, self.assets, self.blobs)
        rules = PipelineRules(self.resources, self.assets, registry, quota, folders)
        self.jobs = Jobs(arm, self.assets, self.blobs, rules)
        self.jobs.on_end.append(self._hold_node)
        data_plane = DataPlane(arm)
        history = JobHistory(data_plane, self.assets, self.blobs, self.jobs)
        self.prompt_flow = PromptFlowService(data_plane, folders, self.jobs, lambda inputs: self.answer_flow(inputs))
        endpoints = OnlineEndpoints(arm, self.providers)
        deployments = Deployments(arm, self.assets, registry, quota, rules)
        scoring = Scoring(self.resources, endpoints, deployments, lambda *turn: self.answer_chat(*turn))
        self.openai = AzureOpenAI(arm, self.providers, lambda *turn: self.answer_chat(*turn))
        models = (registry, self.jobs, lambda *turn: self.answer_chat(*turn))
        serverless = Serverless(arm, self.providers, self.assets, *models)
        self.router = Router()
        for service in (
            *(arm, self.providers, self.machine_learning, Prices(self.world)),
            *(self.blobs, self.assets, registry, self.jobs, history),
            *(endpoints, deployments, scoring, self.prompt_flow, self.openai, serverless),
        ):
            service.add_routes(self.router)
        self._lock = threading.RLock()
        self._authority = Authority(folder)
        self._proxy = Proxy(self._authority, self._answer)
        self._plain_hosts: dict[str, PlainHost] = {}

    def answer_flow(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Answer as a chat flow does with what ``answer_chat`` says, as if its connection's endpoint were asked."""
        return {"answer": self.answer_chat({}, chat_messages(inputs), {})}

    def _hold_node(self, job: Job) -> None:
        """Keep the node that a job ran on for a while; fine-tuning without compute has none."""
        if job.properties["jobType"] != FINE_TUNING_JOB:
            self.machine_learning.computes.hold_node(job.workspace, "gpu-cluster")

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to talk to this Azure, logged in, with a subscription to work in."""
        bundle = str(self._authority.bundle)
        return {
            "HTTPS_PROXY": self._proxy.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": bundle,
            "SSL_CERT_FILE": bundle,
            "AZURE_TENANT_ID": TENANT,
            "AZURE_CLIENT_ID": CLIENT,
            "AZURE_CLIENT_SECRET": CLIENT_SECRET,
            "AZURE_SUBSCRIPTION_ID": SUBSCRIPTION,
        }

    def openai_endpoint(self, subdomain: str) -> str:
        """Return where an Azure OpenAI account is reached without TLS or a proxy, such as http://127.0.0.1:41234/."""
        host = f"{subdomain}.openai.azure.com"
        if host not in self._plain_hosts:
            self._plain_hosts[host] = PlainHost(host, self._answer)
        return self._plain_hosts[host].url

    @property
    def writes(self) -> list[Request]:
        """The requests that may have changed something."""
        return [request for request in self.requests if request.is_write]

    def __enter__(self) -> AzureEmulator:
        self._proxy.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        for host in self._plain_hosts.values():
            host.close()
        self._proxy.__exit__(*error)

    def _answer(self, request: Request) -> Reply:
        with self._lock:
            self.requests.append(request)
            reply = self.fault(request) or self._serve(request)
            if request.is_write and reply.status < 400:
                self.after_write(request)
            return reply

    def _serve(self, request: Request) -> Reply:
        try:
            if request.host == ARM:
                self.identity.authenticate(request)
                if "api-version" not in request.query:
                    message = "The api-version query parameter (?api-version=) is required for all requests."
                    raise ServiceError(400, "MissingApiVersionParameter", message)
                self._check_subscription(request)
                self.roles.authorize(request)
            elif request.host not in (LOGIN, PRICES):
                self._authenticate_data_plane(request)
            return self.router.answer(request)
        except ServiceError as error:
            return error.reply
        except ConnectionReset:
            raise
        except Exception as error:  # a fault of the emulator must not look like the service's
            return Reply(501, {"error": {"code": "EmulatorBroken", "message": f"{request}: {error!r}"}})

    def _check_subscription(self, request: Request) -> None:
        segments = request.path.split("/")
        if segments[1].lower() == "subscriptions" and segments[2].lower() != SUBSCRIPTION:
            message = f"The subscription '{segments[2]}' could not be found."
            raise ServiceError(404, "SubscriptionNotFound", message)

    def _authenticate_data_plane(self, request: Request) -> None:
        """Leave it to the service: blobs take signatures, endpoints keys, Azure ML's own hosts tokens."""
