"""The scoring hosts of online endpoints: who may ask, which deployment answers, and what its container takes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.azure.emulator.deployments import Deployments
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.online_endpoints import OnlineEndpoints
from tests.azure.emulator.resources import Resources
from tests.azure.emulator.routing import Router

HOST = "*.inference.ml.azure.com"
AnswerChat = Callable[[dict[str, Any], list[dict[str, str]], dict[str, Any]], str]


class Scoring:
    """Every endpoint's /score; ``answer_chat`` stands for the models."""

    def __init__(
        self, resources: Resources, endpoints: OnlineEndpoints, deployments: Deployments, answer_chat: AnswerChat
    ) -> None:
        self._resources, self._endpoints, self._deployments = resources, endpoints, deployments
        self._answer_chat = answer_chat
        self._asked: Counter[str] = Counter()

    def add_routes(self, router: Router) -> None:
        """Register where requests are scored."""
        router.add("POST", "/score", self._score, host=HOST)

    def _score(self, request: Request) -> Reply:
        name, location = request.host.split(".")[:2]
        endpoint = self._endpoints.find(name, location)
        if endpoint is None:
            return Reply(404, "The endpoint does not exist.")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if not key or scheme.lower() != "bearer":
            return Reply(401, "key_auth_bad_header_missing", {"WWW-Authenticate": "Bearer"})
        if key not in self._endpoints.keys(endpoint["id"]).values():
            return Reply(401, "key_auth_access_denied", {"WWW-Authenticate": "Bearer"})
        deployment = self._route(request, endpoint)
        if isinstance(deployment, Reply):
            return deployment
        reply = self._answer(request, deployment)
        return Reply(reply.status, reply.body, {"azureml-model-deployment": deployment["name"], **reply.headers})

    def _route(self, request: Request, endpoint: dict[str, Any]) -> dict[str, Any] | Reply:
        """Return the deployment that a header names, or one by the traffic's weights, in a fixed order."""
        deployment_name = request.headers.get("azureml-model-deployment")
        if deployment_name is None:
            self._asked[endpoint["id"]] += 1
            place = self._asked[endpoint["id"]] * 37 % 100
            for name, percent in endpoint["properties"]["traffic"].items():
                if place < percent:
                    deployment_name = name
                    break
                place -= percent
        if deployment_name is None:
            message = "No valid deployments to route to. Please check that the endpoint has at least one deployment "
            return Reply(404, f"{message}with positive weight values or use a deployment specific header to route.")
        deployment = self._resources.find(f"{endpoint['id']}/deployments/{deployment_name}")
        if deployment is None or deployment["properties"]["provisioningState"] == "Creating":
            return Reply(404, f"Specified deployment could not be found: {deployment_name}")
        if deployment["properties"]["provisioningState"] == "Failed":
            return Reply(502, "The deployment has failed.")
        return deployment

    def _answer(self, request: Request, deployment: dict[str, Any]) -> Reply:
        try:
            body = json.loads(request.body)
        except ValueError:
            return _model_error("The request's body is no JSON.")
        if not isinstance(body, dict):
            return _model_error("The request's body is no JSON object.")
        is_scripted = bool(deployment["properties"].get("codeConfiguration"))
        if is_scripted and "messages" not in body:
            return self._answer_script(body, deployment)
        if not is_scripted and self._deployments.environment(deployment).get("inferenceConfig"):
            return self._answer_flow(body, deployment)
        messages = body.get("messages") or []
        if not _are_messages(messages):
            return _model_error("The MLflow model's signature wants {'messages': [{'role': …, 'content': …}]}.")
        text = self._answer_chat(deployment, messages, {name: body[name] for name in body if name != "messages"})
        return Reply(200, {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}}]})

    def _answer_script(self, body: dict[str, Any], deployment: dict[str, Any]) -> Reply:
        """Answer what the wire contract has, as the scoring script of ours does, which takes MLflow's chat as well."""
        input_data = body.get("input_data")
        messages = (input_data.get("input_string") or []) if isinstance(input_data, dict) else []
        if isinstance(messages, list) and len(messages) == 1 and isinstance(messages[0], list):
            messages = messages[0]
        if not isinstance(input_data, dict) or not _are_messages(messages):
            return _model_error("'input_data.input_string' must be a list of messages.")
        return Reply(200, {"output": self._answer_chat(deployment, messages, input_data.get("parameters") or {})})

    def _answer_flow(self, body: dict[str, Any], deployment: dict[str, Any]) -> Reply:
        """Answer as a served chat flow: its inputs by name in, its outputs by name out."""
        if not isinstance(body.get("question"), str):
            return _model_error("The flow's input 'question' is missing.")
        return Reply(200, {"answer": self._answer_chat(deployment, chat_messages(body), {})})


def chat_messages(inputs: dict[str, Any]) -> list[dict[str, str]]:
    """Return the messages that a chat flow makes of its inputs."""
    messages = [
        {"role": role, "content": turn[side][name]}
        for turn in inputs.get("chat_history") or []
        for role, side, name in (("user", "inputs", "question"), ("assistant", "outputs", "answer"))
    ]
    return [*messages, {"role": "user", "content": inputs["question"]}]


def echo(deployment: dict[str, Any], messages: list[dict[str, str]], parameters: dict[str, Any]) -> str:
    """Answer with what was said last, so that tests see what arrived."""
    return f"You said: {messages[-1]['content']}"


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(message, dict) and isinstance(message.get("content"), str) and "role" in message
            for message in value
        )
    )


def _model_error(message: str) -> Reply:
    """Return what the front end makes of a container that answers 400."""
    headers = {"ms-azureml-model-error-statuscode": "400", "ms-azureml-model-error-reason": "model_error"}
    return Reply(424, message, headers)
