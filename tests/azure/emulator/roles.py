"""Role-based access: definitions, assignments, and whether the caller may do what a request would do."""

from __future__ import annotations

import fnmatch
import re
import uuid
from typing import Any

from tests.azure.emulator.identity import Identity
from tests.azure.emulator.messages import Reply, Request, ServiceError
from tests.azure.emulator.resources import Resources, parse_json_object, resource_type
from tests.azure.emulator.routing import Router
from tests.azure.emulator.world import CALLER, CLIENT, SUBSCRIPTION, World

_PRINCIPAL = re.compile(r"principalId eq '([^']+)'")
_ALL = ["*"]
_ML, _COGNITIVE = "Microsoft.MachineLearningServices", "Microsoft.CognitiveServices"
_GRANTS = ["Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write"]

ROLES: dict[str, tuple[str, list[str], list[str]]] = {
    "Owner": ("8e3af657-a8ff-443c-a75c-2fe8c4bcb635", _ALL, []),
    "Contributor": ("b24988ac-6180-42a0-ab88-20f7382dd24c", _ALL, _GRANTS),
    "Reader": ("acdd72a7-3385-48ef-bd42-f606fba81ae7", ["*/read"], []),
    "User Access Administrator": (
        "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9",
        ["*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"],
        [],
    ),
    "Storage Blob Data Reader": ("2a2b9908-6ea1-4ae2-8e65-a410df84e7d1", ["Microsoft.Storage/*/read"], []),
    "Storage Blob Data Contributor": ("ba92f5b4-2d11-453d-a403-e96b0029c9fe", ["Microsoft.Storage/*/read"], []),
    "AcrPull": ("7f951dda-4ed3-4680-a7ca-43fe172d538d", ["Microsoft.ContainerRegistry/registries/pull/read"], []),
    "Azure AI Developer": (
        "64702f94-c441-49e6-a78b-ef80e0188fee",
        [f"{_ML}/workspaces/read", *(f"{_ML}/workspaces/*/{verb}" for verb in ("read", "action", "delete", "write"))],
        [f"{_ML}/workspaces/delete", f"{_ML}/workspaces/computes/*/write"],
    ),
    "Cognitive Services OpenAI Contributor": (
        "a001fd3d-188f-4b5d-821b-7da978bf7442",
        [
            f"{_COGNITIVE}/*/read",
            f"{_COGNITIVE}/accounts/deployments/*",
            "Microsoft.Authorization/roleAssignments/read",
        ],
        [],
    ),
    "Cognitive Services OpenAI User": ("5e0bd9bd-7b93-4f28-af87-19fc36ad61bd", [f"{_COGNITIVE}/*/read"], []),
    "Cognitive Services Contributor": ("25fbc0a9-bd7c-42a3-aa1a-3b75d497ee68", [f"{_COGNITIVE}/*"], []),
    "Cognitive Services Usages Reader": (
        "bba48692-92b0-4667-a9ad-c31c7b334ac2",
        [f"{_COGNITIVE}/locations/usages/read"],
        [],
    ),
    "Cognitive Services User": (
        "a97b65f3-24c7-4388-baec-2e87135dc908",
        [f"{_COGNITIVE}/*/read", f"{_COGNITIVE}/accounts/listkeys/action"],
        [],
    ),
    "Foundry User": (
        "53ca6127-db72-4b80-b1b0-d745d6d5456d",
        [f"{_COGNITIVE}/*/read", f"{_COGNITIVE}/accounts/listkeys/action"],
        [],
    ),
    "Foundry Owner": ("c883944f-8b7b-4483-af10-35834be79c4a", [f"{_COGNITIVE}/*"], []),
    "Foundry Account Owner": ("e47c6f54-e4a2-4754-9501-8e0985b135e1", [f"{_COGNITIVE}/*"], []),
    "Foundry Project Manager": (
        "eadc314b-1a2d-4efa-be10-5d325db5065e",
        [f"{_COGNITIVE}/*/read", f"{_COGNITIVE}/accounts/projects/*"],
        [],
    ),
    "Azure AI Administrator": (
        "b78c5d69-af96-48a3-bf8d-a8b4d589de94",
        [f"{_ML}/workspaces/*", f"{_COGNITIVE}/*"],
        [],
    ),
    "AzureML Data Scientist": (
        "f6c7c914-8db3-469d-8ca1-694a8f32e121",
        [f"{_ML}/workspaces/read", *(f"{_ML}/workspaces/*/{verb}" for verb in ("read", "action", "delete", "write"))],
        [f"{_ML}/workspaces/delete", f"{_ML}/workspaces/computes/*", f"{_ML}/workspaces/listKeys/action"],
    ),
    "AzureML Metrics Writer (preview)": (
        "635dd51f-9968-44d3-b7fb-6d9a6bd613ae",
        [f"{_ML}/workspaces/metrics/*/write"],
        [],
    ),
    "Azure Machine Learning Workspace Connection Secrets Reader": (
        "ea01e6af-a1c1-4350-9563-ad00f8c72ec5",
        [f"{_ML}/workspaces/connections/listsecrets/action", f"{_ML}/workspaces/metadata/secrets/read"],
        [],
    ),
}
_ALL_DATA, _OPENAI_DATA = [f"{_COGNITIVE}/*"], f"{_COGNITIVE}/accounts/OpenAI"
DATA_ACTIONS: dict[str, list[str]] = {
    "Cognitive Services OpenAI Contributor": [f"{_OPENAI_DATA}/*"],
    "Cognitive Services OpenAI User": [f"{_OPENAI_DATA}/*/read", f"{_OPENAI_DATA}/deployments/*/action"],
    "Cognitive Services User": _ALL_DATA,
    "Foundry User": _ALL_DATA,
    "Foundry Owner": _ALL_DATA,
    "Foundry Project Manager": _ALL_DATA,
    "Azure AI Developer": [f"{_OPENAI_DATA}/*"],
}
"""What roles allow at Azure OpenAI itself, with a token; Owner and Contributor allow nothing there."""
_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete", "POST": "action"}
_ANYBODY_MAY = ("Microsoft.Resources/operationResults", "/operationStatuses", "/operationResults", "/permissions")


class Roles:
    """The subscription's role definitions and assignments."""

    def __init__(self, world: World, identity: Identity, resources: Resources) -> None:
        self._world, self._identity, self._resources = world, identity, resources

    def add_routes(self, router: Router) -> None:
        """Register definitions, assignments and permissions, at any scope."""
        base = "{scope:path}/providers/Microsoft.Authorization"
        router.add("GET", f"{base}/roleDefinitions", self._definitions)
        router.add("GET", f"{base}/roleDefinitions/{{name}}", self._definition)
        router.add("GET", f"{base}/roleAssignments", self._assignments)
        router.add("GET", f"{base}/roleAssignments/{{name}}", self._get)
        router.add("PUT", f"{base}/roleAssignments/{{name}}", self._put)
        router.add("DELETE", f"{base}/roleAssignments/{{name}}", self._delete)
        router.add("GET", f"{base}/permissions", self._permissions)

    def authorize(self, request: Request) -> None:
        """Raise ServiceError 403 where none of the caller's roles allows the request."""
        action, scope = _action(request)
        if action.lower() in {denied.lower() for denied in self._world.denied}:
            raise _denied(action, scope)
        if action.endswith(_ANYBODY_MAY) or any(ending in action for ending in _ANYBODY_MAY):
            return
        if action == "Microsoft.Resources/subscriptions/read" and self._world.roles:
            return  # whoever has a role anywhere in a subscription sees it
        for actions, not_actions in self._granted(scope):
            if _matches(action, actions) and not _matches(action, not_actions):
                return
        raise _denied(action, scope)

    def allow_data(self, action: str, scope: str) -> bool:
        """Return whether any of the caller's roles on a resource allows a data action, as ``denied`` may forbid."""
        if action.lower() in {denied.lower() for denied in self._world.denied}:
            return False
        return any(_matches(action, DATA_ACTIONS.get(role, [])) for role in self._held(scope))

    def of(self, principal_id: str) -> set[tuple[str, str]]:
        """Return a principal's assignments as (role name, scope)."""
        names = {role_id: name for name, (role_id, _, _) in ROLES.items()}
        return {
            (names[assignment["properties"]["roleDefinitionId"].rpartition("/")[2]], assignment["properties"]["scope"])
            for assignment in self._all()
            if assignment["properties"]["principalId"] == principal_id
        }

    def _granted(self, scope: str) -> list[tuple[list[str], list[str]]]:
        return [(ROLES[role][1], ROLES[role][2]) for role in self._held(scope)]

    def _held(self, scope: str) -> list[str]:
        """Return the roles that the caller has at a scope."""
        held = {(role, at) for at, role in self._world.roles.items()} | self.of(CALLER)
        return [
            role
            for role, at in held
            if scope.lower() == at.lower() or scope.lower().startswith(at.lower().rstrip("/") + "/")
        ]

    def _all(self) -> list[dict[str, Any]]:
        return [
            resource for resource in self._resources if resource["type"] == "Microsoft.Authorization/roleAssignments"
        ]

    def _permissions(self, request: Request, scope: str) -> Reply:
        rows = [
            {
                "actions": ROLES[role][1],
                "notActions": ROLES[role][2],
                "dataActions": DATA_ACTIONS.get(role, []),
                "notDataActions": [],
            }
            for role in self._held(scope)
        ]
        return Reply(200, {"value": rows})

    def _definitions(self, request: Request, scope: str) -> Reply:
        condition = request.query.get("$filter", "")
        rows = [_described(name) for name in ROLES if not condition or f"'{name}'" in condition]
        return Reply(200, {"value": rows})

    def _definition(self, request: Request, scope: str, name: str) -> Reply:
        for role, (role_id, _, _) in ROLES.items():
            if role_id == name:
                return Reply(200, _described(role))
        raise ServiceError(404, "RoleDefinitionDoesNotExist", f"The role definition '{name}' does not exist.")

    def _assignments(self, request: Request, scope: str) -> Reply:
        condition = request.query.get("$filter", "")
        principal = _PRINCIPAL.search(condition)
        if principal:
            self._identity.check_known(principal[1])
        assignments = [
            assignment
            for assignment in self._all()
            if (scope.lower() + "/").startswith(assignment["properties"]["scope"].lower() + "/")
            and (
                ("principalId" not in condition and "assignedTo" not in condition)
                or assignment["properties"]["principalId"] in condition
            )
        ]
        if CALLER in condition or "principalId" not in condition:
            assignments += [
                _standing(role, at)
                for at, role in self._world.roles.items()
                if (scope.lower() + "/").startswith(at.lower() + "/")
            ]
        return Reply(200, {"value": assignments})

    def _get(self, request: Request, scope: str, name: str) -> Reply:
        return self._resources.get(_assignment_id(scope, name))

    def _put(self, request: Request, scope: str, name: str) -> Reply:
        try:
            uuid.UUID(name)
        except ValueError:
            message = f"The role assignment ID '{name}' is not valid. The role assignment ID must be a GUID."
            raise ServiceError(400, "InvalidRoleAssignmentId", message) from None
        properties = parse_json_object(request).get("properties") or {}
        role_id = str(properties.get("roleDefinitionId", "")).rpartition("/")[2]
        if role_id not in {known_id for known_id, _, _ in ROLES.values()}:
            message = f"The specified role definition with ID '{role_id}' does not exist."
            raise ServiceError(400, "RoleDefinitionDoesNotExist", message)
        if scope.count("/") > 2:
            self._check_scope(scope)
        principal = str(properties.get("principalId", ""))
        self._identity.check_known(principal)
        for assignment in self._all():
            other = assignment["properties"]
            same = (other["principalId"], other["roleDefinitionId"].rpartition("/")[2], other["scope"].lower())
            if same == (principal, role_id, scope.lower()):
                if assignment["name"] == name:
                    return Reply(200, assignment)
                raise ServiceError(409, "RoleAssignmentExists", "The role assignment already exists.")
            if assignment["name"] == name:
                message = "Tenant ID, application ID, principal ID, and scope are not allowed to be updated."
                raise ServiceError(400, "RoleAssignmentUpdateNotPermitted", message)
        body = {"properties": {**properties, "scope": scope}}
        return Reply(201, self._resources.store(_assignment_id(scope, name), body))

    def _check_scope(self, scope: str) -> None:
        self._resources.need(scope)

    def _delete(self, request: Request, scope: str, name: str) -> Reply:
        return self._resources.delete(_assignment_id(scope, name), asynchronous=False)


def _denied(action: str, scope: str) -> ServiceError:
    return ServiceError(
        403,
        "AuthorizationFailed",
        f"The client '{CLIENT}' with object id '{CALLER}' does not have authorization to perform action '{action}' "
        f"over scope '{scope}' or the scope is invalid. If access was recently granted, please refresh your "
        "credentials.",
    )


def _assignment_id(scope: str, name: str) -> str:
    return f"{scope}/providers/Microsoft.Authorization/roleAssignments/{name}"


def _described(name: str) -> dict[str, Any]:
    role_id, actions, not_actions = ROLES[name]
    path = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{role_id}"
    permission = {
        "actions": actions,
        "notActions": not_actions,
        "dataActions": DATA_ACTIONS.get(name, []),
        "notDataActions": [],
    }
    properties = {"roleName": name, "type": "BuiltInRole", "permissions": [permission], "assignableScopes": ["/"]}
    return {"id": path, "name": role_id, "type": "Microsoft.Authorization/roleDefinitions", "properties": properties}


def _standing(role: str, scope: str) -> dict[str, Any]:
    """Return the assignment that the caller came with."""
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{scope} {role}"))
    definition = _described(role)["id"]
    properties = {
        "roleDefinitionId": definition,
        "principalId": CALLER,
        "scope": scope,
        "principalType": "ServicePrincipal",
    }
    return {"id": _assignment_id(scope, name), "name": name, "properties": properties}


def _action(request: Request) -> tuple[str, str]:
    """Return the action that a request performs, such as Microsoft.X/things/write, and the scope it is judged at."""
    path = request.path.rstrip("/")
    scope, separator, below = path.rpartition("/providers/")
    if not separator:
        kind = {2: "subscriptions", 4: "subscriptions/resourceGroups"}.get(path.count("/"), "subscriptions/resources")
        return f"Microsoft.Resources/{kind}/{_VERBS[request.method]}", path
    segments = below.split("/")
    if request.method == "POST":  # …/{type}/{name}/{what}
        kinds = "/".join([segments[0], *segments[1:-1:2]])
        return f"{kinds}/{segments[-1]}/action", scope if len(segments) < 3 else path.rpartition("/")[0]
    return f"{resource_type(path)}/{_VERBS[request.method]}", scope if len(segments) % 2 == 0 else path


def _matches(action: str, patterns: list[str]) -> bool:
    return any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns)
