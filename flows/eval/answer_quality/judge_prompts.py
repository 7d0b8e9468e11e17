"""The judge's prompts: promptflow-evals' own files, found without importing that package.

Importing promptflow.evals.evaluators 0.3.5 downloads NLTK data, and fails where there is no network. Its judges
are thin wrappers around .prompty files, which AsyncPrompty reads here.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptflow.core import AsyncPrompty
from promptflow.core._prompty_utils import convert_prompt_template, prepare_open_ai_request_params

PACKAGE = "promptflow-evals"
METRICS = ("relevance", "coherence", "fluency", "similarity", "groundedness")


@dataclass(frozen=True)
class JudgePrompt:
    """The prompt of one metric: the texts it wants, and the SHA-256 of its file."""

    metric: str
    inputs: tuple[str, ...]
    sha256: str
    prompty: AsyncPrompty

    def request(self, texts: Mapping[str, str], connection: Any) -> dict[str, Any]:
        """Return the arguments for a chat completion, as AsyncPrompty would send them.

        AsyncPrompty is not called: a client of its own for each call takes 70 ms to make, and an answer that begins
        with ``data:image/png;path:`` would have it send that file to the judge.
        """
        values = {name: texts[name] for name in self.inputs}
        messages = convert_prompt_template(self.prompty._template, values, self.prompty._model.api)
        return prepare_open_ai_request_params(self.prompty._model, messages, connection)


@functools.cache
def load_prompts(model: str) -> tuple[JudgePrompt, ...]:
    """Return each metric's prompt for the judge ``model``. Raises RuntimeError where promptflow-evals is missing."""
    return tuple(_load_prompt(metric, model) for metric in METRICS)


def package_version() -> str:
    """Return the prompts' package and version, such as ``promptflow-evals 0.3.5``."""
    return f"{PACKAGE} {_distribution().version}"


def _load_prompt(metric: str, model: str) -> JudgePrompt:
    path = Path(str(_distribution().locate_file(f"promptflow/evals/evaluators/_{metric}/{metric}.prompty")))
    if not path.is_file():
        raise RuntimeError(f"{path}: {package_version()} has no such prompt: pip install '{PACKAGE}>=0.3.5,<0.4'")
    prompty = AsyncPrompty.load(source=path, model={"configuration": {"azure_deployment": model}})
    inputs = tuple(prompty._get_input_signature())
    return JudgePrompt(metric, inputs, hashlib.sha256(path.read_bytes()).hexdigest(), prompty)


def _distribution() -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(PACKAGE)
    except importlib.metadata.PackageNotFoundError as error:
        raise RuntimeError(f"the judge's prompts are not installed: pip install '{PACKAGE}>=0.3.5,<0.4'") from error
