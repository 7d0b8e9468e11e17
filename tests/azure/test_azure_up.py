"""azure plan, up, status and down against an emulated subscription: what is made, changed, kept and deleted."""

from __future__ import annotations

import json
import re
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.messages import Reply, Request
from tests.azure.emulator.world import CALLER, SUBSCRIPTION
from tests.azure.snapshots import resource, snapshot
from tests.support.command_line import Done, phi3flow

ML = "Microsoft.MachineLearningServices"
GROUP = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/phi3flow"
_NAMES = uuid.UUID("5a4c7f5e-2f0e-4f0c-9d0d-7f3c2f6f9b11")


def up(project: Path) -> Done:
    done = phi3flow("azure", "up", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    return done


def as_json(*arguments: str, project: Path) -> Any:
    return json.loads(phi3flow("azure", *arguments, "--json", cwd=project).stdout)


def test_plan_says_what_would_be_made_and_changes_nothing(azure: AzureEmulator, project: Path) -> None:
    done = phi3flow("azure", "plan", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    kinds = Counter(each["resource"] for each in plan["resources"])
    assert {each["action"] for each in plan["resources"]} == {"create"}
    assert (kinds["provider"], kinds["role assignment"], kinds["workspace"], kinds["compute cluster"]) == (12, 4, 1, 1)
    cluster = next(each for each in plan["resources"] if each["resource"] == "compute cluster")
    assert (cluster["size"], cluster["nodes"]) == ("Standard_NC24ads_A100_v4", 1)
    assert [each["dollars_per_hour"] for each in plan["costs"]] == [3.673, 3.673]
    assert azure.writes == []
    assert len(list(azure.resources)) == 0


def test_a_price_that_cannot_be_had_is_unknown(azure: AzureEmulator, project: Path) -> None:
    azure.world.prices_reachable = False
    done = phi3flow("azure", "plan", cwd=project)
    assert done.returncode == 0, done.stderr
    assert re.search(r"endpoint, from deploy to undeploy +1 x Standard_NC24ads_A100_v4 +unknown +unknown", done.stdout)


def test_up_makes_what_the_document_has_people_click(azure: AzureEmulator, project: Path) -> None:
    up(project)
    workspace = resource(azure, f"{ML}/workspaces", "phi3flow")
    parts = {
        "storageAccount": "Microsoft.Storage/storageAccounts",
        "keyVault": "Microsoft.KeyVault/vaults",
        "applicationInsights": "Microsoft.Insights/components",
        "containerRegistry": "Microsoft.ContainerRegistry/registries",
    }
    for name, kind in parts.items():
        assert workspace["properties"][name] == resource(azure, kind)["id"]
    cluster = resource(azure, f"{ML}/workspaces/computes")["properties"]
    assert cluster["computeType"] == "AmlCompute"
    assert cluster["properties"]["vmSize"] == "STANDARD_NC24ADS_A100_V4"  # as the service writes it
    assert cluster["properties"]["vmPriority"] == "Dedicated"
    scale = cluster["properties"]["scaleSettings"]
    assert scale == {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT2M"}
    hub = resource(azure, f"{ML}/workspaces", "phi3flow-hub")
    made = resource(azure, f"{ML}/workspaces", "phi3flow-project")
    assert (hub["kind"], made["kind"], made["properties"]["hubResourceId"]) == ("Hub", "Project", hub["id"])
    assert all(each["properties"]["provisioningState"] == "Succeeded" for each in (workspace, hub, made))
    assert not [each for each in azure.resources if "Search" in each["type"]]


def test_up_gives_the_identity_its_three_roles_and_the_caller_one(azure: AzureEmulator, project: Path) -> None:
    up(project)
    identity = resource(azure, "Microsoft.ManagedIdentity/userAssignedIdentities")
    assert azure.roles.of(identity["properties"]["principalId"]) == {
        ("Contributor", GROUP),
        ("Storage Blob Data Reader", resource(azure, "Microsoft.Storage/storageAccounts")["id"]),
        ("AcrPull", resource(azure, "Microsoft.ContainerRegistry/registries")["id"]),
    }
    assert azure.roles.of(CALLER) == {("Azure AI Developer", GROUP)}


def test_roles_go_by_their_ids_which_renames_leave(azure: AzureEmulator, project: Path) -> None:
    """Azure renames roles; assignments that an earlier build made are named after what we call a role."""
    up(project)
    assert not [request for request in azure.requests if "/roleDefinitions" in request.path]
    name = str(uuid.uuid5(_NAMES, f"{GROUP}|{CALLER}|Azure AI Developer".lower()))
    given = azure.resources.need(f"{GROUP}/providers/Microsoft.Authorization/roleAssignments/{name}")
    role = "Microsoft.Authorization/roleDefinitions/64702f94-c441-49e6-a78b-ef80e0188fee"
    assert given["properties"]["roleDefinitionId"] == f"/subscriptions/{SUBSCRIPTION}/providers/{role}"


def test_a_role_that_the_directory_lacks_is_named(azure: AzureEmulator, project: Path) -> None:
    def lack(request: Request) -> Reply | None:
        if request.method != "PUT" or b"7f951dda-4ed3-4680-a7ca-43fe172d538d" not in request.body:
            return None
        message = "The specified role definition with ID '7f951dda-4ed3-4680-a7ca-43fe172d538d' does not exist."
        return Reply(400, {"error": {"code": "RoleDefinitionDoesNotExist", "message": message}})

    azure.fault = lack
    done = phi3flow("azure", "up", "--yes", cwd=project)
    assert done.returncode == 3
    assert "this directory has no role 'AcrPull' (7f951dda-4ed3-4680-a7ca-43fe172d538d)" in done.stderr


def test_a_second_up_sends_no_write(azure: AzureEmulator, project: Path) -> None:
    up(project)
    before, writes = snapshot(azure), len(azure.writes)
    done = up(project)
    assert "everything is there" in done.stdout
    assert len(azure.writes) == writes
    assert snapshot(azure) == before


def test_every_request_bears_our_user_agent(azure: AzureEmulator, project: Path) -> None:
    up(project)
    asked = [each for each in azure.requests if each.host in ("management.azure.com", "prices.azure.com")]
    assert all(each.headers["user-agent"].startswith("phi3flow/") for each in asked)


def test_up_changes_what_differs_and_only_that(azure: AzureEmulator, project: Path) -> None:
    up(project)
    writes = len(azure.writes)
    (project / "phi3flow.toml").write_text("[azure]\nmax_nodes = 2\n", encoding="utf-8")
    plan = as_json("plan", project=project)
    (change,) = [each for each in plan["resources"] if each["action"] != "exists"]
    wanted = "properties.properties.scaleSettings.maxNodeCount is 1, wanted 2"
    assert (change["resource"], change["action"], change["differences"]) == ("compute cluster", "change", [wanted])
    up(project)
    assert [each.path.rpartition("/")[2] for each in azure.writes[writes:]] == ["gpu-cluster"]
    scale = resource(azure, f"{ML}/workspaces/computes")["properties"]["properties"]["scaleSettings"]
    assert scale["maxNodeCount"] == 2


def test_up_asks_and_no_terminal_means_no(azure: AzureEmulator, project: Path) -> None:
    done = phi3flow("azure", "up", cwd=project)
    assert done.returncode == 1
    assert "Make or change these 27" in done.stderr
    assert azure.writes == []


def test_status_shows_what_there_is(azure: AzureEmulator, project: Path) -> None:
    up(project)
    azure.resources.delete(resource(azure, f"{ML}/workspaces/computes")["id"], asynchronous=False)
    states = {each["name"]: each["state"] for each in as_json("status", project=project)}
    assert (states["gpu-cluster"], states["phi3flow-hub"]) == ("missing", "exists")


def test_down_deletes_what_up_made_and_keeps_the_group(azure: AzureEmulator, project: Path) -> None:
    up(project)
    done = phi3flow("azure", "down", "--yes", cwd=project)
    assert done.returncode == 0, done.stderr
    assert [each["id"] for each in azure.resources] == [GROUP]
    writes = len(azure.writes)
    assert "nothing to delete" in phi3flow("azure", "down", "--yes", cwd=project).stdout
    assert len(azure.writes) == writes


@pytest.mark.slow
def test_up_after_down_makes_the_same_again(azure: AzureEmulator, project: Path) -> None:
    """The key vault of that name is soft-deleted, and is recovered."""
    up(project)
    before = Counter(each["type"] for each in azure.resources)
    phi3flow("azure", "down", "--yes", cwd=project)
    up(project)
    assert Counter(each["type"] for each in azure.resources) == before
    assert {each["action"] for each in as_json("plan", project=project)["resources"]} == {"exists"}


def test_down_deletes_nothing_unless_it_is_told_to(azure: AzureEmulator, project: Path) -> None:
    up(project)
    before = snapshot(azure)
    done = phi3flow("azure", "down", cwd=project)
    assert done.returncode == 1
    assert "workspace phi3flow" in done.stderr
    assert "answer with --yes" in done.stderr
    assert snapshot(azure) == before


def test_down_never_touches_what_others_made(azure: AzureEmulator, project: Path) -> None:
    """Somebody's cluster lies in our workspace: it stays, and so does all it stands on; the rest goes."""
    up(project)
    cluster = resource(azure, f"{ML}/workspaces/computes")
    theirs = {key: value for key, value in cluster.items() if key not in ("id", "name", "type", "tags", "systemData")}
    azure.resources.store(cluster["id"].replace("gpu-cluster", "their-cluster"), theirs)
    done = phi3flow("azure", "down", "--yes", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    kept = {each["name"]: each["reason"] for each in json.loads(done.stdout)["kept"]}
    assert kept["phi3flow"] == "phi3flow did not make its compute their-cluster"
    left = {each["name"] for each in azure.resources}
    assert {"phi3flow", "their-cluster", "phi3flow-insights", "phi3flow-logs"} <= left
    assert not {"gpu-cluster", "phi3flow-hub", "phi3flow-project", "phi3flow-identity"} & left


@pytest.fixture
def their_workspace(azure: AzureEmulator, project: Path) -> dict[str, Any]:
    """Somebody made a workspace and what it stands on by hand, without our tags and with other names."""
    up(project)
    workspace = resource(azure, f"{ML}/workspaces", "phi3flow")
    for each in list(azure.resources):
        each.pop("tags", None)
    names = {f"{ML}/workspaces/computes", "Microsoft.Authorization/roleAssignments"}
    for each in list(azure.resources):
        if each["type"] in names or each["name"] in ("phi3flow-hub", "phi3flow-project", "phi3flow-identity"):
            azure.resources.delete(each["id"], asynchronous=False)
    return workspace


@pytest.mark.slow
def test_a_workspace_that_others_made_is_used_as_it_is(
    azure: AzureEmulator, project: Path, their_workspace: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = '[azure]\nstorage_account = "anotherone"\nkey_vault = "another"\ncontainer_registry = "another"\n'
    (project / "phi3flow.toml").write_text(text, encoding="utf-8")
    before = json.dumps(their_workspace)
    up(project)
    assert json.dumps(their_workspace) == before
    assert "anotherone" not in {each["name"] for each in azure.resources}
    identity = resource(azure, "Microsoft.ManagedIdentity/userAssignedIdentities")
    storage = their_workspace["properties"]["storageAccount"]
    assert ("Storage Blob Data Reader", storage) in azure.roles.of(identity["properties"]["principalId"])
    phi3flow("azure", "down", "--yes", cwd=project)
    left = {each["name"] for each in azure.resources}
    assert "phi3flow" in left
    assert not {"gpu-cluster", "phi3flow-hub", "phi3flow-identity"} & left


def test_no_secret_is_printed_or_written(azure: AzureEmulator, project: Path) -> None:
    said = [phi3flow("azure", *words, "--debug", cwd=project) for words in (["plan"], ["up", "--yes"], ["status"])]
    secret = azure.environment["AZURE_CLIENT_SECRET"]
    assert not [done for done in said if secret in done.stdout + done.stderr or "eyJ" in done.stdout + done.stderr]
    assert [path for path in project.rglob("*") if path.is_file()] == []
