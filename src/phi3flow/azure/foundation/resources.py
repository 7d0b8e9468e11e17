"""What a project needs in Azure, each with how to find out whether it is there and how to make it."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from phi3flow.azure.arm import ENDPOINT, Arm, in_transition, writable
from phi3flow.azure.foundation.role_ids import ROLE_IDS
from phi3flow.azure.polling import GRANT_WAITS, poll
from phi3flow.azure.tags import TAGS, is_tagged
from phi3flow.errors import AzureError, ForbiddenError

Action = Literal["create", "change", "wait", "exists", "foreign", "hidden"]
"""What is to be done: ``wait`` for what is being made or changed already; ``foreign`` exists, and is not ours;
``hidden`` may not be looked at by the caller, and is left alone."""


ROLES_VERSION = "2022-04-01"
PROVIDERS_VERSION = "2024-03-01"
PROPAGATION_S = 300.0
"""How long a new principal may take until role assignments know it."""


_NAMESPACE = uuid.UUID("5a4c7f5e-2f0e-4f0c-9d0d-7f3c2f6f9b11")
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(?:(\d+)S)?")
_FIXED = ("kind ", "properties.hubResourceId ", "properties.properties.vmSize ")
_SOFT_DELETED_WORKSPACE = "Soft-deleted workspace exists"
_SOFT_DELETED = frozenset({"ConflictError", "VaultAlreadyExists", "FlagMustBeSetForRestore"})


@dataclass(frozen=True)
class Condition:
    """How a look at Azure finds something: what would have to be done, and where it is not as it should be."""

    action: Action
    differences: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    """Those of the differences that no change can mend."""


class Requirement(Protocol):
    """Something that a project needs.

    ``id`` is its id in ARM, a role assignment's its scope; ``key`` tells it from others; ``needs`` are the keys of
    what must be there first.
    """

    @property
    def label(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def id(self) -> str: ...
    @property
    def key(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    def look(self, arm: Arm) -> Condition: ...
    def make(self, arm: Arm) -> None: ...
    def is_ours(self, arm: Arm) -> bool:
        """Whether it is there, and was made by phi3flow."""
        ...

    def remove(self, arm: Arm) -> None: ...


@dataclass(frozen=True)
class Registration:
    """A provider that the subscription must have registered. It stays when the rest is deleted."""

    namespace: str
    subscription: str
    label: str = "provider"
    needs: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The provider's namespace."""
        return self.namespace

    @property
    def id(self) -> str:
        """The provider's id."""
        return f"{self.subscription}/providers/{self.namespace}"

    @property
    def key(self) -> str:
        """Its id, in lower case."""
        return self.id.lower()

    def look(self, arm: Arm) -> Condition:
        """Say whether it is registered; who has a role on the resource group only may not see it."""
        try:
            return Condition("exists" if self._state(arm) == "Registered" else "create")
        except ForbiddenError:
            return Condition("hidden")

    def make(self, arm: Arm) -> None:
        """Register it, and wait until it is."""
        if self._state(arm) in ("NotRegistered", "Unregistered"):
            arm.post(f"{self.id}/register", PROVIDERS_VERSION)
        poll(lambda: (self._state(arm), None), until=lambda state: state == "Registered", waits=GRANT_WAITS)

    def is_ours(self, arm: Arm) -> bool:
        """Never: others may use it."""
        return False

    def remove(self, arm: Arm) -> None:
        """Leave it."""

    def _state(self, arm: Arm) -> str:
        provider = arm.get(self.id, PROVIDERS_VERSION)
        return str((provider or {}).get("registrationState", "NotRegistered"))


@dataclass(frozen=True)
class Resource:
    """An ARM resource; ``body`` is what the settings ask of it, and all that is ever compared or changed.

    ``initial`` is sent besides where it is made, and belongs to its administrator from then on; ``restore`` too, where
    one of its name was deleted and can be recovered. ``changed_at`` are the keys to the part of ``body`` that a PATCH
    may change. ``deletion`` are the query parameters of its deletion; one that is ``kept`` is never deleted.
    ``vm_size`` and ``nodes`` are what it runs on at most.
    """

    label: str
    id: str
    version: str
    body: Mapping[str, Any]
    needs: tuple[str, ...] = ()
    initial: Mapping[str, Any] = field(default_factory=dict)
    restore: Mapping[str, Any] = field(default_factory=dict)
    changed_at: tuple[str, ...] = ()
    deletion: Mapping[str, str] = field(default_factory=dict)
    kept: bool = False
    vm_size: str | None = None
    nodes: int = 0

    @property
    def name(self) -> str:
        """The last part of its id."""
        return self.id.rpartition("/")[2]

    @property
    def key(self) -> str:
        """Its id, in lower case."""
        return self.id.lower()

    def look(self, arm: Arm) -> Condition:
        """Compare what is there with ``body``; one that phi3flow did not make is never to be changed."""
        existing = arm.get(self.id, self.version)
        if existing is None:
            return Condition("create")
        if in_transition(existing):
            return Condition("wait")
        differences = tuple(_differences(self.body, existing))
        if not is_tagged(existing):
            return Condition("foreign", differences)
        fixed = tuple(difference for difference in differences if difference.startswith(_FIXED))
        return Condition("change" if differences or _has_failed(existing) else "exists", differences, fixed)

    def make(self, arm: Arm) -> None:
        """Create or change it. What another operation is making already is waited for."""
        existing = arm.settle(self.id, self.version)
        if existing is None:
            self._create(arm)
        elif self.look(arm).action == "change":
            self._mend(arm, existing)

    def is_ours(self, arm: Arm) -> bool:
        """Whether it is there and has our tag."""
        existing = arm.get(self.id, self.version)
        return existing is not None and is_tagged(existing)

    def remove(self, arm: Arm) -> None:
        """Delete it, and wait until it is gone."""
        arm.delete(self.id, self.version, self.deletion)

    def _mend(self, arm: Arm, existing: Mapping[str, Any]) -> None:
        """Change what the settings ask for and nothing else; one that failed is put again with all that was read."""
        if _has_failed(existing):
            body = _merged(self._new(), writable(existing))
            arm.put(self.id, self.version, _merged(body, self.body))
            return
        part: Mapping[str, Any] = existing
        wanted: Mapping[str, Any] = self.body
        for key in self.changed_at:
            part, wanted = part.get(key) or {}, wanted.get(key) or {}
        change: Mapping[str, Any] = _merged(part, wanted)
        for key in reversed(self.changed_at):
            change = {key: change}
        arm.patch(self.id, self.version, change)

    def _new(self) -> dict[str, Any]:
        return {**_merged(self.body, self.initial), "tags": TAGS}

    def _create(self, arm: Arm) -> None:
        body = self._new()
        try:
            arm.put(self.id, self.version, body)
        except AzureError as error:
            if _SOFT_DELETED_WORKSPACE in str(error):
                url = f"{ENDPOINT}{self.id}?api-version={self.version}&forceToPurge=true"
                raise AzureError(f"{error} To purge it: az rest --method delete --url '{url}'") from error
            if not self.restore or error.code not in _SOFT_DELETED:
                raise
            arm.put(self.id, self.version, _merged(body, self.restore))


@dataclass(frozen=True)
class RoleAssignment:
    """A role of ``ROLE_IDS`` at a scope, given to a managed identity, or to the caller where ``identity`` is None."""

    role: str
    scope: str
    identity: Resource | None
    needs: tuple[str, ...] = ()
    label: str = "role assignment"

    @property
    def name(self) -> str:
        """Who gets which role where."""
        who = self.identity.name if self.identity else "the caller"
        where = self.scope.rpartition("/")[2] if self.scope.count("/") > 2 else "the subscription"
        return f"{self.role} on {where} to {who}"

    @property
    def id(self) -> str:
        """The scope."""
        return self.scope

    @property
    def key(self) -> str:
        """Scope, role and holder."""
        return f"{self.scope}|{self.role}|{self.identity.id if self.identity else ''}".lower()

    def look(self, arm: Arm) -> Condition:
        """Say whether the holder has the role there; who has a role on the group only may not see it above."""
        holder = self._holder(arm)
        try:
            return Condition("exists" if holder and self._held(arm, holder[0]) else "create")
        except ForbiddenError:
            return Condition("hidden")

    def make(self, arm: Arm) -> None:
        """Assign the role; a principal that was just made is waited for."""
        holder = self._holder(arm)
        if holder is None:
            raise AzureError(f"{self.name}: the identity is not there")
        principal, kind = holder
        if self._held(arm, principal):
            return
        properties = {
            "roleDefinitionId": self._definition,
            "principalId": principal,
            "principalType": kind,
            "description": TAGS["created-by"],
        }
        deadline_s = time.monotonic() + PROPAGATION_S

        def assign() -> tuple[bool, None]:
            try:
                arm.put(self._assignment(principal), ROLES_VERSION, {"properties": properties})
            except AzureError as error:
                if error.code == "PrincipalNotFound" and time.monotonic() <= deadline_s:
                    return False, None
                if error.code == "RoleDefinitionDoesNotExist":
                    raise AzureError(
                        f"{self.name}: this directory has no role {self.role!r} ({ROLE_IDS[self.role]})",
                        code=error.code,
                    ) from error
                if error.code != "RoleAssignmentExists":
                    raise
            return True, None

        poll(assign, until=bool, waits=GRANT_WAITS)

    def is_ours(self, arm: Arm) -> bool:
        """Whether it is there, under the name that we give; one that the caller may not see is left."""
        holder = self._holder(arm)
        try:
            return holder is not None and arm.get(self._assignment(holder[0]), ROLES_VERSION) is not None
        except ForbiddenError:
            return False

    def remove(self, arm: Arm) -> None:
        """Take the role away."""
        holder = self._holder(arm)
        if holder:
            arm.delete(self._assignment(holder[0]), ROLES_VERSION)

    def _holder(self, arm: Arm) -> tuple[str, str] | None:
        """Return the principal's id and type, None while the identity does not exist."""
        if self.identity is None:
            caller = arm.caller()
            return caller.object_id, caller.type
        identity = arm.get(self.identity.id, self.identity.version)
        principal = (identity or {}).get("properties", {}).get("principalId")
        return (str(principal), "ServicePrincipal") if principal else None

    def _assignment(self, principal: str) -> str:
        """Name it after scope, principal and role, so that a second run finds it."""
        name = uuid.uuid5(_NAMESPACE, f"{self.scope}|{principal}|{self.role}".lower())
        return f"{self.scope}/providers/Microsoft.Authorization/roleAssignments/{name}"

    @property
    def _definition(self) -> str:
        """The role's id as assignments name it."""
        subscription = "/".join(self.scope.split("/")[:3])
        return f"{subscription}/providers/Microsoft.Authorization/roleDefinitions/{ROLE_IDS[self.role]}"

    def _held(self, arm: Arm, principal: str) -> bool:
        """Whether the principal has the role at the scope or above; one that is too new to be known has none."""
        return any(
            str(assignment["properties"]["roleDefinitionId"]).lower().endswith(ROLE_IDS[self.role])
            and str(assignment["properties"]["principalId"]).lower() == principal.lower()
            and (self.scope.lower() + "/").startswith(
                str(assignment["properties"].get("scope", "")).lower().rstrip("/") + "/"
            )
            for assignment in self._assignments(arm, principal)
        )

    def _assignments(self, arm: Arm, principal: str) -> list[dict[str, Any]]:
        path = f"{self.scope}/providers/Microsoft.Authorization/roleAssignments"
        try:
            return list(arm.list(path, ROLES_VERSION, **{"$filter": f"principalId eq '{principal}'"}))
        except AzureError as error:
            if error.code != "PrincipalNotFound":
                raise
            return []


def _merged(base: Mapping[str, Any], addition: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with what ``addition`` has besides, at every depth."""
    merged = dict(base)
    for key, value in addition.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def _has_failed(resource: Mapping[str, Any]) -> bool:
    return str(resource.get("properties", {}).get("provisioningState", "")).lower() == "failed"


def _differences(body: Mapping[str, Any], existing: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Give where ``existing`` is not as ``body``; what ``body`` does not name may be anything."""
    for key, value in body.items():
        name, actual = f"{path}{key}", existing.get(key)
        if isinstance(value, Mapping):
            yield from _differences(value, actual if isinstance(actual, Mapping) else {}, f"{name}.")
        elif not _same(value, actual):
            yield f"{name} is {actual!r}, wanted {value!r}"


def _same(value: Any, actual: Any) -> bool:
    if not (isinstance(value, str) and isinstance(actual, str)):
        return bool(value == actual)
    return _plain(value) == _plain(actual)


def _plain(text: str) -> str:
    """Return a text as ARM compares it: without case, regions without spaces, durations in seconds."""
    duration = _DURATION.fullmatch(text)
    if duration and text != "PT":
        hours, minutes, seconds = (int(count or 0) for count in duration.groups())
        return f"{hours * 3600 + minutes * 60 + seconds} s"
    return re.sub(r"\s+", "", text).lower()
