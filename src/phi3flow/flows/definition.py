"""Flow folders: what they declare and which files they are, read without importing promptflow."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from phi3flow.errors import ConfigError, FlowError
from phi3flow.flows.entry import entry_inputs
from phi3flow.flows.fingerprint import fingerprinted_files
from phi3flow.flows.flow_yaml import (
    apply_variants,
    check_nodes,
    find_variant,
    read_flow_yaml,
    set_connections,
    variant_reference,
)
from phi3flow.flows.folder_files import DAG_FILE, FLEX_FILE, FLOW_FILES
from phi3flow.flows.includes import included_files, whole_folder
from phi3flow.flows.inputs import FlowInput
from phi3flow.flows.left_inputs import optional_inputs
from phi3flow.flows.own_files import digest_of
from phi3flow.flows.prompty import SUFFIX, model_overrides, prompty_files, prompty_inputs, read_prompty
from phi3flow.records.scores import ScoreRange
from phi3flow.records.yaml_text import change_yaml

_RANGE = re.compile(r"(?P<name>\S+)\s+(?P<low>-?\d+(\.\d+)?)\.\.(?P<high>-?\d+(\.\d+)?)")


@dataclass(frozen=True)
class Flow:
    """A DAG flow with one variant chosen, or a flex flow.

    ``text`` is the YAML that promptflow executes: the user's, with nothing changed but what a variant or a connection
    asks for. ``definition`` is what it says; a DAG's holds no variants any more. ``init`` has the arguments of a flex
    flow's class, ``overrides`` the connections that took the place of a DAG's own: {"node.input": name}. ``files`` are
    what it executes and reads, with their SHA-256: see ``flow_files.followed_files``. ``includes`` are the files from
    elsewhere that run in its folder, by their names there: see ``included_files``.
    """

    folder: Path
    file: str
    text: str = field(repr=False)
    definition: dict[str, Any] = field(repr=False)
    inputs: dict[str, FlowInput]
    files: Mapping[str, str] = field(repr=False)
    variant: str | None = None
    init: dict[str, Any] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)
    includes: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The folder's name; of a prompty the file's."""
        return self.path.stem if self.is_prompty else self.folder.name

    @property
    def path(self) -> Path:
        """What the flow is called by: its folder, of a prompty the file."""
        return self.folder / self.file if self.is_prompty else self.folder

    @cached_property
    def fingerprint(self) -> str:
        """The SHA-256 over what the flow executes and reads, as hex."""
        return digest_of(self.files)

    @property
    def is_flex(self) -> bool:
        """Whether the flow is no graph of nodes: a Python function or class, or a prompty."""
        return self.is_prompty or "entry" in self.definition

    @property
    def is_prompty(self) -> bool:
        """Whether a prompty file is the flow."""
        return self.file.endswith(SUFFIX)

    @property
    def chat_output(self) -> str | None:
        """The output that a chat view shows, where one is marked."""
        outputs = self.definition.get("outputs") or {}
        return next((name for name, body in outputs.items() if (body or {}).get("is_chat_output")), None)

    @property
    def number_outputs(self) -> list[str]:
        """The outputs that are declared as numbers or truth values: an evaluation flow's metrics, as far as it says."""
        outputs = self.definition.get("outputs") or {}
        return [name for name, body in outputs.items() if (body or {}).get("type") in ("int", "double", "bool")]

    @cached_property
    def optional_inputs(self) -> set[str]:
        """The inputs that a line may lack: see ``left_inputs.optional_inputs``."""
        return optional_inputs(self.inputs)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that the flow asks for."""
        return {name: str(value) for name, value in (self.definition.get("environment_variables") or {}).items()}

    @property
    def lower_is_better(self) -> list[str]:
        """The metrics of an evaluation flow that count something bad: its tag of this name, with commas between."""
        return self._listed("lower_is_better")

    @property
    def score_ranges(self) -> dict[str, ScoreRange]:
        """The least and greatest score of a metric, other than 0 and 1: the tag ``score_ranges``, "bleu 0..100, …".

        Raises FlowError where the tag says something else.
        """
        ranges: dict[str, ScoreRange] = {}
        for text in self._listed("score_ranges"):
            match = _RANGE.fullmatch(text)
            if not match or not float(match["low"]) < float(match["high"]):
                raise FlowError(f"{self.folder / self.file}: the tag score_ranges has {text!r}, not NAME LOW..HIGH")
            ranges[match["name"]] = float(match["low"]), float(match["high"])
        return ranges

    def _listed(self, tag: str) -> list[str]:
        items = str((self.definition.get("tags") or {}).get(tag, "")).split(",")
        return [item.strip() for item in items if item.strip()]

    def with_connections(self, overrides: Mapping[str, str]) -> Flow:
        """Return the flow with ``{"node.input": connection name}`` set, as ``pf run --connections`` does.

        Raises ConfigError for a node or input that is not there, and for a flex flow, which has none.
        """
        if not overrides:
            return self
        if self.is_prompty:
            model = model_overrides(self.definition, overrides, name=self.name)
            return replace(self, init={**self.init, "model": model}, overrides={**self.overrides, **overrides})
        if self.is_flex:
            words = " ".join(f"{key}={name}" for key, name in overrides.items())
            raise ConfigError(f"--connections {words}: {self.name} is a flex flow and has no nodes; use --init")

        def change(dag: dict[str, Any]) -> None:
            apply_variants(dag, None, self.folder / self.file)
            set_connections(dag, overrides, flow=self.name)

        definition = copy.deepcopy(self.definition)
        change(definition)
        return replace(
            self, text=change_yaml(self.text, change), definition=definition, overrides={**self.overrides, **overrides}
        )

    def with_init(self, arguments: Mapping[str, Any]) -> Flow:
        """Return the flex flow with arguments for its class, as ``pf run --init`` gives them."""
        if arguments and not self.is_flex:
            raise ConfigError(f"--init {' '.join(arguments)}: {self.name} is no flex flow, it has no class to make")
        return replace(self, init=dict(arguments))


def load_flow(path: Path, *, variant: str | None = None) -> Flow:
    """Read a flow folder (or its YAML file, or a prompty) and choose a variant, without importing promptflow.

    ``variant`` is ``${node.variant}``, ``node.variant`` or the variant's name where only one node has it.
    Raises FlowError where the folder holds no flow that parses, ConfigError for an unknown variant.
    """
    if path.suffix == SUFFIX:
        return _load_prompty(path, variant)
    file = path if path.is_file() else _flow_file(path)
    folder = file.parent.resolve()
    text, definition = read_flow_yaml(file)
    is_flex = "entry" in definition
    inputs = {  # a node takes an input as ${inputs.NAME}, long ago as ${flow.NAME}
        name: FlowInput.declared(name, body or {}, is_read=is_flex or f".{name}" in text)
        for name, body in (definition.get("inputs") or {}).items()
    }
    includes = included_files(folder, definition, where=file)
    files = fingerprinted_files(folder, includes)
    flow = Flow(folder, file.name, text, definition, inputs, files, includes=includes)
    return _with_entry(flow, variant) if is_flex else _with_variant(flow, variant)


def files_now(flow: Flow) -> dict[str, str]:
    """Return what ``files`` would be, were the flow loaded now; none where it is gone."""
    try:
        if flow.is_prompty:
            return prompty_files(flow.path, read_prompty(flow.path)[0])
        return fingerprinted_files(flow.folder, flow.includes)
    except (OSError, FlowError):
        return {}


def _with_entry(flow: Flow, variant: str | None) -> Flow:
    """Return a flex flow with its entry's inputs where the YAML declares none."""
    file = flow.folder / flow.file
    if variant:
        raise ConfigError(f"{file}: variant {variant!r}: a flex flow has no variants")
    if flow.inputs:
        return flow
    with whole_folder(flow.folder, flow.includes) as whole:
        inputs = entry_inputs(whole, flow.definition["entry"], where=file, environment=flow.environment)
    return replace(flow, inputs=inputs)


def _with_variant(flow: Flow, variant: str | None) -> Flow:
    """Return a DAG flow with the chosen variant of its nodes, the others' defaults, in place."""
    file, definition = flow.folder / flow.file, flow.definition
    check_nodes(definition, file)
    chosen = find_variant(definition, variant, file) if variant else None
    apply_variants(definition, chosen, file)
    if not chosen:
        return flow
    text = change_yaml(flow.text, lambda content: apply_variants(content, chosen, file))
    return replace(flow, text=text, variant=variant_reference(chosen))


def _load_prompty(path: Path, variant: str | None) -> Flow:
    if variant:
        raise ConfigError(f"{path}: variant {variant!r}: a prompty has no variants")
    file = path.resolve()
    text, definition = read_prompty(file)
    inputs = prompty_inputs(file, definition)
    return Flow(file.parent, file.name, text, definition, inputs, prompty_files(file, text))


def _flow_file(folder: Path) -> Path:
    files = [folder / name for name in FLOW_FILES if (folder / name).is_file()]
    if len(files) > 1:
        raise FlowError(f"{folder}: has {files[0].name} and {files[1].name}: name the file that is meant")
    if files:
        return files[0]
    raise FlowError(f"{folder / DAG_FILE}: there is no such file; a flow is a folder with {DAG_FILE} or {FLEX_FILE}")
