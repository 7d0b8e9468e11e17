"""What is learnt, as Azure OpenAI takes it: checked, counted, and known by its content once it is uploaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from phi3flow.azure.openai.service import UNUSABLE, OpenAIService
from phi3flow.azure.polling import Waits, poll
from phi3flow.backends.backend import FineTuneRequest
from phi3flow.datasets.service_files import ServiceFile, write_for_service
from phi3flow.datasets.tokens import EncodingMissingError, FileCheck, TokenStatistics, check_file, tiktoken_counter
from phi3flow.errors import AzureError, DatasetError
from phi3flow.storage.jsonl import file_sha256
from phi3flow.text import plural, shorten

MESSAGE_KEYS = ("role", "content", "name", "weight")
FEWEST_EXAMPLES = 10
ENCODING = "o200k_base"
NAMED_FROM_TOKENS = 4096
"""Longer examples are named, unless --max-seq-length says otherwise."""
LONGEST_EXAMPLE_TOKENS = 65_536
"""Of gpt-4o, gpt-4o-mini and the gpt-4.1 family (learn.microsoft.com: fine-tuning, 2026-03)."""
_LIMITED = ("gpt-4o", "gpt-4.1")
_PROCESSING_WAITS = Waits(first_s=1.0, longest_s=10.0)
_LISTED = 5


@dataclass(frozen=True)
class TrainingFiles:
    """The files as they would be uploaded, by what they are for, and what was counted in them."""

    files: Mapping[str, ServiceFile]
    checks: Mapping[str, FileCheck]
    not_counted: str | None

    @property
    def trained_tokens(self) -> int | None:
        """The tokens of an epoch, None where they were not counted."""
        tokens = self.checks["train"].per_example
        return round(tokens.mean * tokens.n) if tokens else None


def read_files(request: FineTuneRequest, model: str, uploads: Path) -> TrainingFiles:
    """Check the request's files, write them to ``uploads`` as the service takes them, and count their tokens.

    Each goes into a folder of its own, so that a plan that waits for an answer keeps its files.

    Raises DatasetError for malformed lines, fewer than 10 examples, a file that is too large, and an example that is
    longer than ``model`` takes.
    """
    files = {
        role: write_for_service(
            path,
            uploads / file_sha256(path)[:16] / f"{role}.jsonl",
            message_keys=MESSAGE_KEYS,
            fewest_examples=FEWEST_EXAMPLES if role == "train" else 1,
        )
        for role, path in request.files.items()
    }
    try:
        count, not_counted = tiktoken_counter(ENCODING), None
    except EncodingMissingError as error:
        count, not_counted = None, str(error)
    limit = int(request.hyperparameters.get("max_seq_length", NAMED_FROM_TOKENS))
    checks = {role: check_file(path, count=count, max_tokens=limit) for role, path in request.files.items()}
    if model.startswith(_LIMITED):
        _refuse_longest(checks)
    return TrainingFiles(files, checks, not_counted)


def describe(files: TrainingFiles) -> Iterator[str]:
    """Say how many tokens the examples have, and which are long."""
    if files.not_counted:
        yield f"the tokens were not counted: {files.not_counted}"
    for role, check in files.checks.items():
        if check.per_example and check.per_assistant_turn:
            yield f"{role}: {plural(check.examples, 'example')}"
            yield f"  tokens an example: {_table(check.per_example)}"
            yield f"  tokens an answer: {_table(check.per_assistant_turn)}"
        long = [f"{check.file}:{example.line} ({example.tokens:,})" for example in check.over_limit]
        if long:
            more = " …" if len(long) > _LISTED else ""
            yield f"  {plural(len(long), 'long example')}: {', '.join(long[:_LISTED])}{more}"


def file_name(role: str, file: ServiceFile) -> str:
    """Return what a file is called in the resource: it ends in a hash, so that it is uploaded once."""
    word = "training" if role == "train" else role
    return f"{word}_set-{file.sha256[:16]}.jsonl"


def ensure_files(service: OpenAIService, files: Mapping[str, ServiceFile]) -> dict[str, str]:
    """Upload the files that are not there yet, wait until the service has processed all, and return their ids.

    Raises DatasetError with what the service finds wrong in one.
    """
    uploaded = {
        role: str(service.upload(file_name(role, file), file.path.read_bytes())["id"]) for role, file in files.items()
    }
    return {role: _wait_until_processed(service, role, file_id) for role, file_id in uploaded.items()}


def _wait_until_processed(service: OpenAIService, role: str, file_id: str) -> str:
    def look() -> tuple[Mapping[str, object], float | None]:
        stored, asked_wait_s = service.file(file_id)
        if stored is None:
            raise AzureError(f"Azure OpenAI: file {file_id} was deleted while it was processed")
        return stored, asked_wait_s

    ended = ("processed", *UNUSABLE)
    processed = poll(look, until=lambda stored: stored.get("status") in ended, waits=_PROCESSING_WAITS)
    if processed.get("status") != "processed":
        service.delete_file(file_id)
        raise DatasetError(
            f"the service does not take the {role} file: {shorten(str(processed.get('status_details')), 400)}"
        )
    return file_id


def _refuse_longest(checks: Mapping[str, FileCheck]) -> None:
    for check in checks.values():
        too_long = [example for example in check.over_limit if example.tokens > LONGEST_EXAMPLE_TOKENS]
        if too_long:
            named = ", ".join(f"{check.file}:{example.line} has {example.tokens:,}" for example in too_long[:_LISTED])
            raise DatasetError(
                f"{plural(len(too_long), 'example')} over the model's {LONGEST_EXAMPLE_TOKENS:,} tokens: {named}"
            )


def _table(tokens: TokenStatistics) -> str:
    return (
        f"min {tokens.min:,}, max {tokens.max:,}, mean {tokens.mean:,.1f}, median {tokens.median:,.1f}, "
        f"p5 {tokens.p5:,.1f}, p95 {tokens.p95:,.1f}"
    )
