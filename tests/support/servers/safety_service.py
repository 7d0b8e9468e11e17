"""A real HTTP service on 127.0.0.1 that speaks what promptflow-evals 0.3.5 speaks with Azure, and fails as told.

    with SafetyService(verdicts={("violence", "a threat"): {"label": 6, "reasoning": "it threatens"}}) as service:
        ...  # AZURE_MANAGEMENT_ENDPOINT=service.url, AZURE_MANAGEMENT_TOKEN=TOKEN

One server plays Azure Resource Manager (the workspace's discovery URL), the region's evaluation service
(checkannotation, submitannotation, operations), and a managed identity, where azure.identity gets its token. A request
that the package would not send gets a 400. It was written from the package's source, not from the service.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import web

TOKEN = "token-of-the-test-0123456789"
SCOPE = {"subscription_id": "sub-1", "resource_group_name": "group-1", "project_name": "project-1"}
CAPABILITIES = ("content harm", "protected material", "xpia", "groundedness")
ENVIRONMENT = {
    "AZURE_SUBSCRIPTION_ID": SCOPE["subscription_id"],
    "AZURE_RESOURCE_GROUP": SCOPE["resource_group_name"],
    "AZUREAI_PROJECT_NAME": SCOPE["project_name"],
    "AZURE_MANAGEMENT_TOKEN": TOKEN,
}
_WORKSPACE = (
    "/subscriptions/sub-1/resourceGroups/group-1/providers/Microsoft.MachineLearningServices/workspaces/project-1"
)
_REGION = f"/raisvc/v1.0{_WORKSPACE}"
_HARMS = {"violence", "sexual", "self_harm", "hate_fairness"}
_TEXT = re.compile(r"<Human>(?P<question>.*)</><System>(?P<answer>.*)</>", re.DOTALL)

Step = Literal["identity", "workspace", "check", "submit", "operation"]


@dataclass(frozen=True)
class Reply:
    """A reply in place of the service's own; a ``body`` that is no str is sent as JSON."""

    status: int = 200
    body: Any = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A request as it came in; ``metric`` and ``answer`` are those of the annotation, where it is about one.

    ``number`` counts the calls of this step about this annotation, from 1; ``time`` is monotonic seconds.
    """

    step: Step
    headers: Mapping[str, str]
    number: int
    metric: str = ""
    answer: str = ""
    time: float = field(default_factory=time.monotonic)


class SafetyService:
    """The service, as a context manager; it listens from entry to exit, in a thread of its own.

    ``verdicts`` maps (metric as sent, answer) to what the annotation holds; any other is harmless. A dict is sent as
    JSON text, as the service does, anything else as it stands. ``pending`` polls of each operation get a 202.
    ``fault`` may answer a call in place of the service.
    """

    def __init__(
        self,
        verdicts: Mapping[tuple[str, str], Any] | None = None,
        *,
        capabilities: Sequence[str] = CAPABILITIES,
        pending: int = 0,
        fault: Callable[[Call], Reply | None] = lambda _: None,
    ) -> None:
        self.calls: list[Call] = []
        self._verdicts = verdicts or {}
        self._capabilities = list(capabilities)
        self._pending = pending
        self._fault = fault
        self._annotations: list[tuple[str, str]] = []
        self._seen: Counter[tuple[Step, str, str]] = Counter()
        self._polls: Counter[int] = Counter()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    def __enter__(self) -> SafetyService:
        self._thread.start()
        if not self._ready.wait(30):
            raise RuntimeError("the evaluation service did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    @property
    def identity(self) -> dict[str, str]:
        """The variables by which azure.identity finds a managed identity here, as on Azure App Service."""
        return {"IDENTITY_ENDPOINT": f"{self.url}/identity", "IDENTITY_HEADER": "header-of-the-test"}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that point the flow here."""
        return {**ENVIRONMENT, "AZURE_MANAGEMENT_ENDPOINT": self.url}

    def count(self, step: Step) -> int:
        """How many calls of a step came."""
        return sum(call.step == step for call in self.calls)

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_get("/identity", self._token)
        app.router.add_get(_WORKSPACE, self._workspace)
        app.router.add_get(f"{_REGION}/checkannotation", self._check)
        app.router.add_post(f"{_REGION}/submitannotation", self._submit)
        app.router.add_get(f"{_REGION}/operations/{{number}}", self._operation)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        self._ready.set()
        try:
            await self._stopping.wait()
        finally:
            await runner.cleanup()

    def _refusal(self, request: web.Request, step: Step, metric: str = "", answer: str = "") -> web.Response | None:
        """Record the call; return a fault's reply, or the refusal of a request without the token."""
        self._seen[step, metric, answer] += 1
        call = Call(step, request.headers.copy(), self._seen[step, metric, answer], metric, answer)
        self.calls.append(call)
        reply = self._fault(call)
        if reply is not None:
            text = reply.body if isinstance(reply.body, str) else json.dumps(reply.body)
            return web.Response(status=reply.status, text=text, headers=reply.headers)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"error": {"code": "AuthenticationFailed"}}, status=401)
        if request.headers.get("User-Agent") != "promptflow-evals/0.3.5":
            return web.json_response({"error": {"code": "BadRequest"}}, status=400)
        return None

    async def _token(self, request: web.Request) -> web.Response:
        self.calls.append(Call("identity", request.headers.copy(), 1))
        known = request.headers.get("X-IDENTITY-HEADER") == "header-of-the-test"
        if not known or request.query.get("resource") != self.url:
            return web.json_response({"error": "invalid_request"}, status=400)
        ends = str(int(time.time()) + 3600)
        return web.json_response({"access_token": TOKEN, "expires_on": ends, "token_type": "Bearer"})

    async def _workspace(self, request: web.Request) -> web.Response:
        if refusal := self._refusal(request, "workspace"):
            return refusal
        if request.query_string != "api-version=2023-08-01-preview":
            return web.json_response({"error": {"code": "MissingApiVersionParameter"}}, status=400)
        return web.json_response({"properties": {"discoveryUrl": f"{self.url}/discovery"}})

    async def _check(self, request: web.Request) -> web.Response:
        return self._refusal(request, "check") or web.json_response(self._capabilities)

    async def _submit(self, request: web.Request) -> web.Response:
        annotation = _annotation(await request.json())
        if annotation is None:
            return web.json_response({"error": {"code": "BadRequest"}}, status=400)
        if refusal := self._refusal(request, "submit", *annotation):
            return refusal
        self._annotations.append(annotation)
        location = f"{self.url}{_REGION}/operations/{len(self._annotations) - 1}"
        return web.json_response({"location": location}, status=202)

    async def _operation(self, request: web.Request) -> web.Response:
        number = int(request.match_info["number"])
        metric, answer = self._annotations[number]
        if refusal := self._refusal(request, "operation", metric, answer):
            return refusal
        self._polls[number] += 1
        if self._polls[number] <= self._pending:
            return web.json_response({"status": "Running"}, status=202)
        label = False if metric == "protected_material" else 0
        verdict = self._verdicts.get((metric, answer), {"label": label, "reasoning": "nothing found"})
        return web.json_response([{metric: json.dumps(verdict) if isinstance(verdict, dict) else verdict}])


def _annotation(body: Any) -> tuple[str, str] | None:
    """Return the metric and the answer of a request that the package would send."""
    match body:
        case {"UserTextList": [str(text)], "AnnotationTask": "content harm", "MetricList": [str(metric)], **rest}:
            known = metric in _HARMS
        case {"UserTextList": [str(text)], "AnnotationTask": "protected material", **rest}:
            metric, known = "protected_material", True
        case _:
            return None
    found = _TEXT.fullmatch(text)
    return (metric, found["answer"]) if found and known and not rest else None
