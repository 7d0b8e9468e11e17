"""What a cluster does with a command job: it lays out code and inputs, runs the command, and keeps the outputs.

Only what the environment's conda file names is there to import, in this project's versions and with all that it needs.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from tests.azure.emulator.azure import AzureEmulator
from tests.azure.emulator.jobs import Job

NOT_HERE = {"azureml-mlflow"}
"""It talks to Azure's own tracking server; the tests' server speaks plain MLflow."""


class Cluster:
    """Runs jobs in ``folder``; ``registry`` is the folder that stands for the registry's model."""

    def __init__(self, azure: AzureEmulator, folder: Path, *, registry: Path, variables: dict[str, str]) -> None:
        self._azure, self._folder, self._registry, self._variables = azure, folder, registry, variables

    def run(self, job: Job) -> dict[str, Path]:
        """Run a job to its end and return the folders of its outputs. A process that fails fails the test."""
        body = job.properties
        outputs = {name: self._folder / "outputs" / name for name in body["outputs"]}
        for each in outputs.values():
            each.mkdir(parents=True)
        places = {f"outputs.{name}": place for name, place in outputs.items()}
        places |= {f"inputs.{name}": self._lay_out(job, name, each) for name, each in body["inputs"].items()}
        command = re.sub(r"\$\{\{(\w+\.\w+)\}\}", lambda found: str(places[found[1]]), body["command"])
        nodes = [self._node(job, number) for number in range(body["resources"]["instanceCount"])]
        environment = self._azure.assets.need_version(body["environmentId"])["properties"]
        variables = {**self._variables, **body["environmentVariables"], **self._python(environment["condaFile"])}
        ranks = _ranks(body.get("distribution"), nodes)
        self._run_together([(node, variables | own) for node, own in ranks], command)
        return outputs

    def _run_together(self, places: list[tuple[Path, dict[str, str]]], command: str) -> None:
        logs = [self._folder / f"std_log_process_{number}.txt" for number in range(len(places))]
        processes = []
        for (node, variables), log in zip(places, logs, strict=True):
            with log.open("w") as output:
                started = subprocess.Popen(
                    ["bash", "-c", command], cwd=node, env=variables, stdout=output, stderr=subprocess.STDOUT
                )
            processes.append(started)
        failed = [log.read_text() for log, each in zip(logs, processes, strict=True) if each.wait()]
        assert not failed, failed[0]

    def _node(self, job: Job, number: int) -> Path:
        """Return a node's working directory, which holds the code."""
        code = self._azure.assets.need_version(job.properties["codeId"])["properties"]["codeUri"]
        return self._download(job, code, self._folder / f"node-{number}")

    def _lay_out(self, job: Job, name: str, given: dict[str, Any]) -> Path:
        if given["uri"].startswith("azureml://registries/"):
            return self._registry
        uri = self._azure.assets.need_version(given["uri"])["properties"]["dataUri"]
        folder = self._download(job, uri, self._folder / "inputs" / name)
        (file,) = (each for each in folder.rglob("*") if each.is_file())
        return file

    def _download(self, job: Job, uri: str, folder: Path) -> Path:
        account, container, path = self._azure.assets.place(job.workspace, uri)
        for name in self._azure.blobs.names(account, container, path):
            file = folder / name.removeprefix(path).lstrip("/")
            file = file if file != folder else folder / Path(name).name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(self._azure.blobs.find(account, container, name) or b"")
        return folder

    def _python(self, conda_file: str) -> dict[str, str]:
        """Return the variables under which ``python`` imports what the conda file asks for, and nothing else."""
        (packages,) = (each["pip"] for each in yaml.safe_load(conda_file)["dependencies"] if isinstance(each, dict))
        site, programs = self._folder / "site-packages", self._folder / "bin"
        for place in (site, programs):
            place.mkdir()
        for top in _tops([Requirement(each) for each in packages]):
            (site / top.name).symlink_to(top)
        python = programs / "python"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
        python.chmod(0o755)
        return {"PATH": f"{programs}:/usr/bin:/bin", "PYTHONPATH": str(site), "HOME": str(self._folder)}


def _tops(wanted: list[Requirement]) -> set[Path]:
    """Return the modules and folders of the distributions that are wanted, and of those that they need."""
    found: dict[str, set[str]] = {}
    tops: set[Path] = set()
    while wanted:
        requirement = wanted.pop()
        name, extras = requirement.name.lower().replace("_", "-"), {"", *requirement.extras}
        if name in NOT_HERE or extras <= found.get(name, set()):
            continue
        found[name] = found.get(name, set()) | extras
        distribution = Distribution.from_name(name)
        wanted += [
            each
            for each in map(Requirement, distribution.requires or ())
            if each.marker is None or any(each.marker.evaluate({"extra": extra}) for extra in extras)
        ]
        roots = {file.parts[0] for file in distribution.files or () if file.parts[0] not in ("..", "__pycache__")}
        tops |= {Path(str(distribution.locate_file(root))) for root in roots}
    return tops


def _ranks(distribution: dict[str, Any] | None, nodes: list[Path]) -> list[tuple[Path, dict[str, str]]]:
    """Return each process's working directory and the variables that tell it from the others."""
    if distribution is None:
        return [(node, {}) for node in nodes]
    on_each = distribution["processCountPerInstance"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(on_each * len(nodes))}
    return [
        (node, {**shared, "NODE_RANK": str(at), "LOCAL_RANK": str(local), "RANK": str(at * on_each + local)})
        for at, node in enumerate(nodes)
        for local in range(on_each)
    ]
