"""The emulator's assets, registry, jobs and online endpoints behave as the services', seen through azure-ai-ml."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from azure.ai.ml import Input, MLClient, Output, command, dsl, load_component
from azure.ai.ml.entities import (
    CodeConfiguration,
    Command,
    Data,
    Environment,
    IdentityConfiguration,
    ManagedIdentityConfiguration,
    ManagedOnlineDeployment,
    ManagedOnlineEndpoint,
    Model,
    OnlineRequestSettings,
    PipelineJob,
    ProbeSettings,
)
from azure.ai.ml.exceptions import JobException, MlException
from azure.ai.ml.operations._run_history_constants import RunHistoryConstants
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import BlobClient

from tests.azure.arm_client import ARM, GROUP, ML, ArmClient, make_foundation, workspace_body
from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.world import CALLER, SUBSCRIPTION, World

WORKSPACE = f"{ML}/phi3-ws"
A100 = "Standard_NC24ads_A100_v4"
CPU = "Standard_DS3_v2"
BLOB_READER = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
BLOB_CONTRIBUTOR = "ba92f5b4-2d11-453d-a403-e96b0029c9fe"
ACR_PULL = "7f951dda-4ed3-4680-a7ca-43fe172d538d"
TRACKING = f"https://eastus2.api.azureml.ms/mlflow/v1.0{WORKSPACE}/api/2.0/mlflow"
CONTRACT = {"input_data": {"input_string": [{"role": "user", "content": "Hello?"}], "parameters": {"temperature": 0.7}}}
FLOW = """\
$schema: https://azuremlschemas.azureedge.net/promptflow/latest/Flow.schema.json
inputs:
  question: {type: string}
outputs:
  answer: {type: string, reference: "${echo.output}"}
nodes:
- name: echo
  type: python
  source: {type: code, path: echo.py}
  inputs: {question: "${inputs.question}"}
"""


@pytest.fixture
def azure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AzureEmulator]:
    """Start a subscription with a workspace and two clusters."""
    monkeypatch.setattr(RunHistoryConstants, "_WAIT_COMPLETION_POLLING_INTERVAL_MIN", 0)
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    world = World(unregistered=set(), operation_polls=1, poll_ms=1, propagation_polls=0)
    with AzureEmulator(tmp_path, world) as emulator:
        for name, value in emulator.environment.items():
            monkeypatch.setenv(name, value)
        arm = ArmClient()
        arm.put(WORKSPACE, workspace_body(make_foundation(arm)))
        for name, size in (("gpu-cluster", A100), ("cpu-cluster", CPU)):
            scale = {"minNodeCount": 0, "maxNodeCount": 1, "nodeIdleTimeBeforeScaleDown": "PT120S"}
            settings = {"vmSize": size, "vmPriority": "Dedicated", "scaleSettings": scale}
            properties = {"computeType": "AmlCompute", "properties": settings}
            arm.put(f"{WORKSPACE}/computes/{name}", {"location": "eastus2", "properties": properties})
        emulator.requests.clear()
        yield emulator


@pytest.fixture
def ml(azure: AzureEmulator) -> MLClient:
    return MLClient(DefaultAzureCredential(), SUBSCRIPTION, "rg", "phi3-ws")


@pytest.fixture
def registry(azure: AzureEmulator) -> MLClient:
    return MLClient(DefaultAzureCredential(), registry_name="azureml")


def bearer() -> dict[str, str]:
    return {"Authorization": f"Bearer {DefaultAzureCredential().get_token(f'{ARM}/.default').token}"}


def uploads(azure: AzureEmulator) -> list[str]:
    """Return the paths of the blobs that were written, apart from their metadata."""
    written = [each for each in azure.writes if ".blob." in each.host and each.query.get("comp") != "metadata"]
    return [each.path for each in written]


def upload(ml: MLClient, text: str = '{"messages": []}\n', *, name: str = "train", version: str | None = "1") -> Data:
    path = Path(f"{name}.jsonl")
    path.write_text(text, encoding="utf-8")
    return ml.data.create_or_update(Data(name=name, version=version, type="uri_file", path=str(path)))


def upload_model(ml: MLClient, *, version: str = "1") -> Model:
    folder = Path("model")
    folder.mkdir(exist_ok=True)
    (folder / "MLmodel").write_text(f"flavors: {{}}\nversion: {version}\n", encoding="utf-8")
    return ml.models.create_or_update(Model(name="phi3", version=version, path=str(folder), type="mlflow_model"))


def fine_tuning(ml: MLClient, registry: MLClient, name: str = "ft-1", **inputs: Any) -> PipelineJob:
    """Return the job that fine-tunes Phi-3 on an uploaded file."""
    component = registry.components.get("chat_completion_pipeline", label="latest")
    model = registry.models.get("Phi-3-mini-4k-instruct", label="latest")
    data = upload(ml)
    computes = {f"compute_{part}": "gpu-cluster" for part in ("model_import", "preprocess", "finetune")}
    given: dict[str, Any] = {
        "mlflow_model_path": Input(type="mlflow_model", path=model.id),
        "train_file_path": Input(type="uri_file", path=data.id),
        "validation_file_path": Input(type="uri_file", path="azureml:train:1"),
        **computes,
        "compute_model_evaluation": "gpu-cluster",
        "num_train_epochs": 2,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "cosine",
        "apply_lora": "true",
        **inputs,
    }

    @dsl.pipeline
    def build() -> dict[str, Any]:
        node = component(**{key: value for key, value in given.items() if value is not None})
        return {"trained_model": node.outputs.mlflow_model_folder}

    job: PipelineJob = build()
    job.name, job.experiment_name, job.tags = name, "phi3", {"by": "me"}
    return job


def run_to_the_end(ml: MLClient, job: PipelineJob | Command) -> None:
    ml.jobs.create_or_update(job)
    ml.jobs.stream(job.name)


def test_data_is_uploaded_once(azure: AzureEmulator, ml: MLClient) -> None:
    first = upload(ml)
    assert first.path.startswith("azureml://subscriptions/")
    assert first.path.endswith("/train.jsonl")
    assert len(uploads(azure)) == 1
    azure.requests.clear()
    assert upload(ml).path == first.path
    assert uploads(azure) == []
    assert [each.method for each in azure.writes] == ["PUT"]


def test_folder_is_uploaded_with_its_empty_files(azure: AzureEmulator, ml: MLClient) -> None:
    Path("folder/part").mkdir(parents=True)
    Path("folder/a.txt").write_text("a", encoding="utf-8")
    Path("folder/part/empty.txt").touch()
    data = ml.data.create_or_update(Data(name="folder", version="1", type="uri_folder", path="folder"))
    place = azure.assets.place(WORKSPACE, data.path)
    assert [azure.blobs.find(*place[:2], f"{place[2]}/{name}") for name in ("a.txt", "part/empty.txt")] == [b"a", b""]


def test_existing_version_keeps_its_content(ml: MLClient) -> None:
    upload(ml)
    with pytest.raises(ResourceExistsError, match="existing asset's dataUri cannot be changed"):
        upload(ml, "other\n")
    upload_model(ml)
    changed = ml.models.get("phi3", version="1")
    changed.tags = {"job": "ft-1"}
    ml.models.create_or_update(changed)
    assert ml.models.get("phi3", version="1").tags == {"job": "ft-1"}
    ml.environments.create_or_update(Environment(name="serving", image="mcr.microsoft.com/a:1"))
    second = ml.environments.create_or_update(Environment(name="serving", image="mcr.microsoft.com/b:1"))
    assert second.version == "2"
    with pytest.raises(HttpResponseError, match="must be a positive integer"):
        upload_model(ml, version="v2")


def test_versions_are_counted_up_found_by_label_and_archived(ml: MLClient) -> None:
    assert [upload(ml, version=None).version, upload(ml, version=None).version] == ["1", "2"]
    assert ml.data.get("train", label="latest").version == "2"
    ml.data.archive("train", version="2")
    assert [each.version for each in ml.data.list("train")] == ["1"]
    with pytest.raises(ResourceNotFoundError, match="Data train:9 not found"):
        ml.data.get("train", version="9")
    with pytest.raises(MlException, match="Asset other does not exist in workspace phi3-ws"):
        ml.data.get("other", label="latest")


def test_lists_come_in_pages(azure: AzureEmulator, ml: MLClient) -> None:
    for number in range(40):
        azure.resources.store(f"{WORKSPACE}/data/set-{number}", {"properties": {"dataType": "uri_file"}})
    assert len([each.name for each in ml.data.list()]) == 40
    assert [each.query.get("$skip") for each in azure.requests if each.path == f"{WORKSPACE}/data"] == [None, "30"]


def test_blobs_are_written_in_blocks_by_who_has_a_role(azure: AzureEmulator, ml: MLClient) -> None:
    azure.blobs.add_container("phi3store", "files")
    url = "https://phi3store.blob.core.windows.net/files/large.bin"
    content = os.urandom(5000)

    def client(credential: Any) -> BlobClient:
        return BlobClient.from_blob_url(url, credential, max_single_put_size=1024, max_block_size=1024, retry_total=0)

    with pytest.raises(HttpResponseError, match="AuthorizationPermissionMismatch"):
        client(DefaultAzureCredential()).upload_blob(content)
    account = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/phi3store"
    grant(CALLER, BLOB_CONTRIBUTOR, account)
    client(DefaultAzureCredential()).upload_blob(content)
    assert azure.blobs.find("phi3store", "files", "large.bin") == content
    with pytest.raises(ResourceExistsError):
        client(DefaultAzureCredential()).upload_blob(content)
    reading = azure.blobs.sign("phi3store", "files", permissions="r")
    assert client(reading).download_blob(offset=10, length=20).readall() == content[10:30]
    for signature in (reading, reading.replace("sig=", "sig=x")):
        with pytest.raises(HttpResponseError):
            client(signature).upload_blob(content, overwrite=True)
    assert requests.get(url, timeout=10).status_code == 401


def test_registry_shows_its_models_and_components(azure: AzureEmulator, registry: MLClient) -> None:
    component = registry.components.get("chat_completion_pipeline", version="0.0.82")
    assert component.id == "azureml://registries/azureml/components/chat_completion_pipeline/versions/0.0.82"
    assert len(component.inputs) == 69
    assert list(component.outputs) == ["pytorch_model_folder", "mlflow_model_folder"]
    model = registry.models.get("Phi-3-mini-4k-instruct", label="latest")
    assert A100 in model.tags["finetune_compute_allow_list"]
    assert {"Phi-4", model.name} <= {each.name for each in registry.models.list()}
    assert [each.version for each in registry.models.list("Phi-4")] == ["8"]
    assert registry.environments.get("sklearn-1.5", label="latest").version == "30"
    azure.world.missing_models.add("Phi-4")
    with pytest.raises(ResourceNotFoundError, match="Model Phi-4 not found in registry azureml"):
        registry.models.get("Phi-4", label="latest")
    assert "Phi-4" not in {each.name for each in registry.models.list()}
    with pytest.raises(ResourceNotFoundError, match="Registry nobody's not found"):
        MLClient(DefaultAzureCredential(), registry_name="nobody's")


def test_fine_tuning_goes_through_its_states_to_a_model(
    azure: AzureEmulator, ml: MLClient, registry: MLClient, capsys: pytest.CaptureFixture[str]
) -> None:
    job = ml.jobs.create_or_update(fine_tuning(ml, registry))
    assert job.status == "NotStarted"
    with pytest.raises(HttpResponseError, match="cannot be registered: the job is NotStarted"):
        ml.models.create_or_update(model_of("ft-1"))
    seen = [ml.jobs.get("ft-1").status for _ in range(4)]
    assert seen == ["NotStarted", "Preparing", "Preparing", "Running"]
    ml.jobs.stream("ft-1")
    assert "Streaming logs/azureml/executionlogs.txt" in capsys.readouterr().out
    done = ml.jobs.get("ft-1")
    assert done.status == "Completed"
    assert done.outputs["trained_model"].path.startswith("azureml://datastores/workspaceblobstore/paths/azureml/")
    (step,) = ml.jobs.list(parent_job_name="ft-1")
    assert step.status == "Completed"
    assert [each.display_name for each in ml.jobs.list(parent_job_name=step.name)][-1] == "chat_completion_finetune"
    with pytest.raises(HttpResponseError, match="has no output 'other'"):
        ml.models.create_or_update(model_of("ft-1", "other"))
    model = ml.models.create_or_update(model_of("ft-1"))
    assert (model.version, model.job_name, list(model.flavors)) == ("1", "ft-1", ["python_function"])
    ml.jobs.download("ft-1", download_path="out", output_name="trained_model")
    assert Path("out/named-outputs/trained_model/MLmodel").is_file()
    ml.models.download("phi3", "1", "model")
    assert list(Path("model").rglob("MLmodel"))


def model_of(job: str, output: str = "trained_model") -> Model:
    return Model(name="phi3", path=f"azureml://jobs/{job}/outputs/{output}", type="mlflow_model", tags={"job": job})


def test_fine_tuning_logs_metrics_as_it_runs(azure: AzureEmulator, ml: MLClient, registry: MLClient) -> None:
    def history(key: str) -> list[float]:
        query = {"run_id": "ft-1", "metric_key": key}
        answer = requests.get(f"{TRACKING}/metrics/get-history", query, headers=bearer(), timeout=10).json()
        return [row["value"] for row in answer["metrics"]]

    ml.jobs.create_or_update(fine_tuning(ml, registry))
    assert history("train_loss") == []
    while ml.jobs.get("ft-1").status != "Running":
        pass
    assert 0 < len(history("train_loss")) < 20
    ml.jobs.stream("ft-1")
    losses = history("train_loss")
    assert len(losses) == 20
    assert losses == sorted(losses, reverse=True)
    assert len(history("eval_loss")) == 2
    assert history("learning_rate")[0] < 1e-4
    run = requests.get(f"{TRACKING}/runs/get", {"run_id": "ft-1"}, headers=bearer(), timeout=10).json()["run"]
    assert run["info"]["status"] == "FINISHED"
    none = requests.get(f"{TRACKING}/runs/get", {"run_id": "none"}, headers=bearer(), timeout=10)
    assert (none.status_code, none.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"apply_lora": True}, "'True' is none of true, false"),
        ({"num_train_epochs": 0}, "0 is less than 1"),
        ({"max_seq_length": 1.5}, "'1.5' is no integer"),
        ({"lr_scheduler_type": "step"}, "'step' is none of linear"),
        ({"train_file_path": None}, "one of train_file_path and train_mltable_path is needed"),
        ({"train_file_path": Input(type="uri_file", path="azureml:other:1")}, "data/other/versions/1 could not be"),
        ({"train_file_path": Input(type="uri_folder", path="azureml:train:1")}, "uri_folder was given for an input of"),
        ({"compute_preprocess": "other-cluster"}, "Unknown compute target 'other-cluster'"),
        ({"compute_finetune": "cpu-cluster"}, "not in the model's finetune_compute_allow_list"),
        ({"compute_finetune": "serverless"}, "Standard_nc24rs_v3' is retired"),
        ({"number_of_gpu_to_use_finetuning": 2}, "has 1 GPU"),
        ({"num_nodes_finetune": 2}, "the cluster has at most 1"),
    ],
)
def test_fine_tuning_that_cannot_run_is_refused(
    ml: MLClient, registry: MLClient, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(HttpResponseError, match=message):
        ml.jobs.create_or_update(fine_tuning(ml, registry, **inputs))


def test_fine_tuning_without_quota_is_refused(azure: AzureEmulator, ml: MLClient, registry: MLClient) -> None:
    azure.world.quota["Standard NCADSA100v4 Family"] = 0
    with pytest.raises(HttpResponseError, match="has a Standard NCADSA100v4 family vCPU quota of 0"):
        ml.jobs.create_or_update(fine_tuning(ml, registry))


def test_failed_job_says_why(azure: AzureEmulator, ml: MLClient, registry: MLClient) -> None:
    azure.world.job_failure = "CUDA out of memory."
    with pytest.raises(JobException, match="CUDA out of memory"):
        run_to_the_end(ml, fine_tuning(ml, registry))
    assert ml.jobs.get("ft-1").status == "Failed"
    with pytest.raises(HttpResponseError, match="the job is Failed"):
        ml.models.create_or_update(model_of("ft-1"))


def test_job_is_canceled_even_if_nobody_waits(ml: MLClient, registry: MLClient) -> None:
    ml.jobs.create_or_update(fine_tuning(ml, registry))
    ml.jobs.begin_cancel("ft-1", polling=False)
    assert ml.jobs.get("ft-1").status == "Canceled"
    with pytest.raises(HttpResponseError, match="it is Canceled"):
        ml.jobs.begin_cancel("ft-1").result()


def test_job_keeps_its_definition(azure: AzureEmulator, ml: MLClient, registry: MLClient) -> None:
    for _ in range(2):
        ml.jobs.create_or_update(fine_tuning(ml, registry))
    assert [each.name for each in ml.jobs.list()] == ["ft-1"]
    with pytest.raises(HttpResponseError, match="the existing job's Jobs cannot be changed"):
        ml.jobs.create_or_update(fine_tuning(ml, registry, num_train_epochs=3))
    tagged = fine_tuning(ml, registry)
    tagged.tags = {"more": "yes"}
    assert ml.jobs.create_or_update(tagged).tags == {"by": "me", "more": "yes"}
    ml.jobs.archive("ft-1")
    assert list(ml.jobs.list()) == []
    with pytest.raises(HttpResponseError, match="The job name 'a b' is not valid"):
        ml.jobs.create_or_update(fine_tuning(ml, registry, "a b"))


def command_job(name: str, **changed: Any) -> Command:
    Path("code").mkdir(exist_ok=True)
    Path("code/run.py").write_text("print('hello')\n", encoding="utf-8")
    settings: dict[str, Any] = {
        "name": name,
        "code": "code",
        "command": "python run.py --data ${{inputs.data}} --epochs ${{inputs.epochs}} --out ${{outputs.out}}",
        "environment": Environment(image="mcr.microsoft.com/azureml/minimal:1"),
        "compute": "cpu-cluster",
        "inputs": {"data": Input(type="uri_file", path="azureml:train:1"), "epochs": 3},
        "outputs": {"out": Output(type="uri_folder")},
        **changed,
    }
    return command(**settings)


def test_command_job_runs_its_code(azure: AzureEmulator, ml: MLClient) -> None:
    upload(ml)
    azure.jobs.make_output = lambda job, output: {"answers.jsonl": f"{job.name} {output}".encode()}
    run_to_the_end(ml, command_job("cmd-1"))
    ml.jobs.download("cmd-1", download_path="out", output_name="out")
    assert Path("out/named-outputs/out/answers.jsonl").read_text(encoding="utf-8") == "cmd-1 out"
    ml.jobs.download("cmd-1", download_path="logs")
    assert "Completed" in Path("logs/artifacts/user_logs/std_log.txt").read_text(encoding="utf-8")
    azure.requests.clear()
    ml.jobs.create_or_update(command_job("cmd-2"))
    assert uploads(azure) == []
    with pytest.raises(HttpResponseError, match="could not be found"):
        ml.jobs.create_or_update(command_job("cmd-3", environment="azureml:other:1"))
    with pytest.raises(HttpResponseError, match=r"refers to outputs\.other"):
        ml.jobs.create_or_update(command_job("cmd-4", command="echo ${{outputs.other}}", outputs={}))


def test_flow_runs_on_a_cluster(azure: AzureEmulator, ml: MLClient) -> None:
    upload(ml, '{"question": "a"}\n{"question": "b"}\n', name="lines")
    Path("flow/.promptflow").mkdir(parents=True)
    Path("flow/flow.dag.yaml").write_text(FLOW, encoding="utf-8")
    Path("flow/echo.py").write_text("def echo(question): return question\n", encoding="utf-8")
    Path("flow/.promptflow/flow.tools.json").write_text('{"package": {}, "code": {}}', encoding="utf-8")

    def job(name: str, **columns: str) -> PipelineJob:
        flow = load_component("flow/flow.dag.yaml")

        @dsl.pipeline
        def build() -> dict[str, Any]:
            node = flow(data=Input(type="uri_file", path="azureml:lines:1"), **columns)
            node.compute, node.mini_batch_size, node.max_concurrency_per_instance = "cpu-cluster", 2, 4
            node.resources, node.retry_settings = {"instance_count": 1}, {"max_retries": 1, "timeout": 60}
            return {"flow_outputs": node.outputs.flow_outputs}

        pipeline: PipelineJob = build()
        pipeline.name = name
        return pipeline

    run_to_the_end(ml, job("batch-1", question="${data.question}"))
    ml.jobs.download("batch-1", download_path="out", output_name="flow_outputs")
    text = Path("out/named-outputs/flow_outputs/parallel_run_step.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    assert rows == [{"line_number": 0, "question": "a"}, {"line_number": 1, "question": "b"}]
    azure.requests.clear()
    ml.jobs.create_or_update(job("batch-2", question="${data.question}"))
    assert uploads(azure) == []
    with pytest.raises(HttpResponseError, match="has no input 'answer'"):
        ml.jobs.create_or_update(job("batch-3", answer="${data.answer}"))


@pytest.fixture
def identity(azure: AzureEmulator) -> dict[str, Any]:
    """Make a user-assigned identity that may read the workspace's storage and pull from its registry."""
    path = f"{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/phi3-identity"
    made = ArmClient().put(path, {"location": "eastus2"})
    principal = made["properties"]["principalId"]
    grant(principal, BLOB_READER, f"{GROUP}/providers/Microsoft.Storage/storageAccounts/phi3store")
    grant(principal, ACR_PULL, GROUP)
    return made


def grant(principal: str, role: str, scope: str) -> None:
    definition = f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{role}"
    path = (
        f"{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid5(uuid.NAMESPACE_URL, principal + role)}"
    )
    properties = {"roleDefinitionId": definition, "principalId": principal, "principalType": "ServicePrincipal"}
    ArmClient("2022-04-01").send("PUT", path, {"properties": properties}).raise_for_status()


def make_endpoint(ml: MLClient, identity: dict[str, Any], name: str = "phi3-endpoint") -> ManagedOnlineEndpoint:
    assigned = [ManagedIdentityConfiguration(resource_id=identity["id"])]
    user = IdentityConfiguration(type="user_assigned", user_assigned_identities=assigned)
    endpoint = ManagedOnlineEndpoint(name=name, auth_mode="key", identity=user)
    return ml.online_endpoints.begin_create_or_update(endpoint).result()


def deployment(name: str = "blue", **changed: Any) -> ManagedOnlineDeployment:
    settings: dict[str, Any] = {
        "name": name,
        "endpoint_name": "phi3-endpoint",
        "model": "azureml:phi3:1",
        "instance_type": A100,
        "instance_count": 1,
        "liveness_probe": ProbeSettings(initial_delay=600),
        "request_settings": OnlineRequestSettings(request_timeout_ms=90000),
        **changed,
    }
    return ManagedOnlineDeployment(**settings)


def scripted(name: str, ml: MLClient, **changed: Any) -> ManagedOnlineDeployment:
    """Return a deployment with a scoring script, in an environment of its own."""
    Path("scoring").mkdir(exist_ok=True)
    Path("scoring/score.py").write_text("def init(): ...\ndef run(body): ...\n", encoding="utf-8")
    ml.environments.create_or_update(Environment(name="serving", version="1", image="mcr.microsoft.com/serving:1"))
    code = CodeConfiguration(code="scoring", scoring_script="score.py")
    return deployment(name, code_configuration=code, environment="azureml:serving:1", **changed)


def deploy(ml: MLClient, wanted: ManagedOnlineDeployment) -> ManagedOnlineDeployment:
    return ml.online_deployments.begin_create_or_update(wanted).result()


def send_traffic(ml: MLClient, **traffic: int) -> dict[str, int]:
    endpoint = ml.online_endpoints.get("phi3-endpoint")
    endpoint.traffic = traffic
    sent: dict[str, int] = ml.online_endpoints.begin_create_or_update(endpoint).result().traffic
    return sent


def score(ml: MLClient, body: Any = CONTRACT, key: str | None = None, **headers: str) -> requests.Response:
    endpoint = ml.online_endpoints.get("phi3-endpoint")
    key = key or ml.online_endpoints.get_keys("phi3-endpoint").primary_key
    sent = {"Authorization": f"Bearer {key}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return requests.post(endpoint.scoring_uri, json=body, headers=sent, timeout=10)


def test_traffic_moves_from_blue_to_green(azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]) -> None:
    model = upload_model(ml)
    assert make_endpoint(ml, identity).provisioning_state == "Succeeded"
    assert deploy(ml, scripted("blue", ml)).provisioning_state == "Succeeded"
    assert score(ml).status_code == 404
    assert send_traffic(ml, blue=100) == {"blue": 100}
    assert score(ml).json() == {"output": "You said: Hello?"}
    deploy(ml, scripted("green", ml))
    send_traffic(ml, blue=80, green=20)
    answered = [score(ml).headers["azureml-model-deployment"] for _ in range(10)]
    assert answered.count("green") == 2
    azure.answer_chat = lambda deployed, messages, parameters: f"{deployed['name']} {parameters}"
    assert score(ml, azureml_model_deployment="green").json() == {"output": "green {'temperature': 0.7}"}
    with pytest.raises(HttpResponseError, match="'blue' has 80% traffic and cannot be deleted"):
        ml.online_deployments.begin_delete("blue", "phi3-endpoint").result()
    send_traffic(ml, blue=0, green=100)
    ml.online_deployments.begin_delete("blue", "phi3-endpoint").result()
    assert [each.name for each in ml.online_deployments.list("phi3-endpoint")] == ["green"]
    refused = requests.delete(f"{ARM}{model.id}?api-version=2023-08-01-preview", headers=bearer(), timeout=10)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "Conflict")
    ml.online_endpoints.begin_delete("phi3-endpoint").result()
    with pytest.raises(ResourceNotFoundError):
        ml.online_endpoints.get("phi3-endpoint")
    gone = requests.delete(f"{ARM}{model.id}?api-version=2023-08-01-preview", headers=bearer(), timeout=10)
    assert gone.status_code == 200


@pytest.mark.parametrize("traffic", [{"blue": 90}, {"blue": 50, "green": 60}, {"other": 100}])
def test_traffic_that_does_not_fit_is_refused(ml: MLClient, identity: dict[str, Any], traffic: dict[str, int]) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    for name in ("blue", "green"):
        deploy(ml, deployment(name))
    with pytest.raises(HttpResponseError, match="traffic"):
        send_traffic(ml, **traffic)


def test_endpoint_names_are_unique_in_a_region(azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]) -> None:
    azure.world.taken_names.add("phi3-endpoint")
    with pytest.raises(HttpResponseError, match="There is already an endpoint with this name"):
        make_endpoint(ml, identity)
    path = f"{WORKSPACE}/onlineEndpoints/"
    arm, body = ArmClient(), {"location": "eastus2", "properties": {"authMode": "Key"}}
    for name in ("ab", "3phi", "phi_3", "a" * 33):
        assert "is invalid" in arm.refusal("PUT", path + name, body)[2]
    unknown = {"type": "UserAssigned", "userAssignedIdentities": {f"{identity['id']}-other": {}}}
    assert "does not exist" in arm.refusal("PUT", f"{path}phi3", {**body, "identity": unknown})[2]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"endpoint_name": "other"}, "onlineEndpoints/other' was not found"),
        ({"model": "azureml:other:1"}, "models/other/versions/1 could not be found"),
        ({"model": "azureml://registries/azureml/models/Phi-9/versions/1"}, "Model Phi-9 not found"),
        ({"instance_type": "Standard_NC6s_v3"}, "is retired"),
        ({"instance_type": "Standard_NC80adis_H100_v5"}, "is not a supported VM size"),
        ({"instance_count": 5}, "Current usage/limit: 0/96. Additional needed: 120"),
        ({"instance_type": CPU, "instance_count": 21}, "Current usage/limit: 0/100. Additional needed: 104"),
        ({"request_settings": OnlineRequestSettings(request_timeout_ms=180001)}, "must be at most 180 seconds"),
        ({"environment": "azureml:other:1"}, "environments/other/versions/1 could not be found"),
    ],
)
def test_deployment_that_cannot_be_is_refused(
    ml: MLClient, identity: dict[str, Any], changed: dict[str, Any], message: str
) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    with pytest.raises(HttpResponseError, match=message):
        deploy(ml, deployment(**changed))


def test_a100_deployment_takes_the_quota_of_its_cores_alone(
    azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]
) -> None:
    azure.world.quota["Standard NCADSA100v4 Family"] = 24
    upload_model(ml)
    make_endpoint(ml, identity)
    deploy(ml, deployment())
    deploy(ml, deployment(tags={"again": "yes"}))
    usages = [each for each in ml.compute.list_usage(location="eastus2") if "NCADSA100v4" in each.name["value"]]
    assert [each.current_value for each in usages if each.limit > 0] == [24]
    with pytest.raises(HttpResponseError, match="Current usage/limit: 24/24. Additional needed: 24"):
        deploy(ml, deployment("green"))


def test_deployment_fails_as_the_service_shows_it(azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    azure.world.failing_deployments = 1
    with pytest.raises(HttpResponseError, match="Liveness probe failed"):
        deploy(ml, deployment())
    assert ml.online_deployments.get("blue", "phi3-endpoint").provisioning_state == "Failed"
    assert "Liveness probe failed" in ml.online_deployments.get_logs("blue", "phi3-endpoint", lines=50)
    with pytest.raises(HttpResponseError, match="has not succeeded"):
        send_traffic(ml, blue=100)
    assert deploy(ml, deployment()).provisioning_state == "Succeeded"


def test_deployment_needs_an_identity_that_may_fetch_the_model(ml: MLClient, identity: dict[str, Any]) -> None:
    upload_model(ml)
    other = ArmClient().put(f"{identity['id']}-2", {"location": "eastus2"})
    make_endpoint(ml, other)
    with pytest.raises(HttpResponseError, match="must have the role 'Storage Blob Data Reader'"):
        deploy(ml, deployment())
    storage = f"{GROUP}/providers/Microsoft.Storage/storageAccounts/phi3store"
    grant(other["properties"]["principalId"], BLOB_READER, storage)
    with pytest.raises(HttpResponseError, match="must have the role 'AcrPull'"):
        deploy(ml, deployment())


def test_operation_goes_on_when_its_client_is_gone(ml: MLClient, identity: dict[str, Any]) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    body = {
        "location": "eastus2",
        "sku": {"name": "Default", "capacity": 1},
        "properties": {
            "endpointComputeType": "Managed",
            "model": f"{WORKSPACE}/models/phi3/versions/1",
            "instanceType": A100,
        },
    }
    path = f"{WORKSPACE}/onlineEndpoints/phi3-endpoint/deployments/blue"
    assert ArmClient().send("PUT", path, body).json()["properties"]["provisioningState"] == "Creating"
    assert ml.online_deployments.get("blue", "phi3-endpoint").provisioning_state == "Succeeded"


def test_scoring_wants_a_key_and_the_body_of_its_container(
    azure: AzureEmulator, ml: MLClient, identity: dict[str, Any]
) -> None:
    upload_model(ml)
    make_endpoint(ml, identity)
    deploy(ml, deployment("plain"))
    deploy(ml, scripted("scripted", ml))
    send_traffic(ml, plain=0, scripted=100)
    assert score(ml, key="wrong").status_code == 401
    assert score(ml, azureml_model_deployment="other").status_code == 404
    assert score(ml, {"input_data": {}}).status_code == 424
    refused = score(ml, azureml_model_deployment="plain")
    assert (refused.status_code, refused.headers["ms-azureml-model-error-statuscode"]) == (424, "400")
    messages = {"messages": [{"role": "user", "content": "Hello?"}]}
    taken = score(ml, messages, azureml_model_deployment="plain")
    assert taken.json()["choices"][0]["message"]["content"] == "You said: Hello?"
    Path("request.json").write_text(json.dumps(CONTRACT), encoding="utf-8")
    answer = ml.online_endpoints.invoke("phi3-endpoint", request_file="request.json", deployment_name="scripted")
    assert json.loads(answer) == {"output": "You said: Hello?"}


def test_flow_is_served_by_its_own_container(ml: MLClient, identity: dict[str, Any]) -> None:
    make_endpoint(ml, identity)
    routes = {name: {"port": 8080, "path": path} for name, path in (("liveness_route", "/health"),)}
    routes |= {"readiness_route": {"port": 8080, "path": "/health"}, "scoring_route": {"port": 8080, "path": "/score"}}
    image = "mcr.microsoft.com/azureml/promptflow/promptflow-runtime:latest"
    flow = Environment(name="flow", version="1", image=image, inference_config=routes)
    ml.environments.create_or_update(flow)
    folder = Path("flow")
    folder.mkdir()
    (folder / "flow.dag.yaml").write_text(FLOW, encoding="utf-8")
    ml.models.create_or_update(Model(name="flow", version="1", path=str(folder), type="custom_model"))
    own = {"model": "azureml:flow:1", "environment": "azureml:flow:1", "instance_type": CPU}
    deploy(ml, deployment(**own, environment_variables={"PROMPTFLOW_RUN_MODE": "serving"}))
    send_traffic(ml, blue=100)
    assert score(ml, {"question": "Hello?", "chat_history": []}).json() == {"answer": "You said: Hello?"}
    assert score(ml, {}).status_code == 424


def test_keys_are_changed(ml: MLClient, identity: dict[str, Any]) -> None:
    make_endpoint(ml, identity)
    before = ml.online_endpoints.get_keys("phi3-endpoint")
    path = f"{WORKSPACE}/onlineEndpoints/phi3-endpoint/regenerateKeys"
    assert ArmClient().send("POST", path, {"keyType": "Primary"}).status_code == 202
    after = ml.online_endpoints.get_keys("phi3-endpoint")
    assert after.primary_key != before.primary_key
    assert after.secondary_key == before.secondary_key


def test_workspaces_own_host_wants_a_token(azure: AzureEmulator) -> None:
    run = f"https://eastus2.api.azureml.ms/history/v1.0{WORKSPACE}/runs/ft-1"
    assert requests.get(run, timeout=10).status_code == 401
    assert requests.get(run, headers=bearer(), timeout=10).status_code == 404
    azure.world.roles.clear()
    assert requests.get(run, headers=bearer(), timeout=10).status_code == 403
