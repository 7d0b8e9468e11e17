"""What a batch run costs, before and after, and what the cache saves, over flows/chat_phi3 and a real endpoint."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from phi3flow.cli.main import main
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import write_lines
from tests.support.paths import FLOWS
from tests.support.servers.fault_endpoint import FaultEndpoint

KEY = "key-of-the-test-0123456789"
ROWS = [{"question": f"Who founded company {number}?"} for number in range(4)]
OPENAI = "name: phi3_openai\ntype: custom\nconfigs:\n  endpoint: ${env:PHI3_ENDPOINT}\n  protocol: openai\n"

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Type batch-run over four lines in a working folder; get what it prints as JSON."""
    (tmp_path / "flows").symlink_to(FLOWS)
    (tmp_path / "connections").mkdir()
    for name in ("phi3_endpoint", "phi3_openai"):
        secrets = "secrets:\n  key: ${env:PHI3_KEY}\n"
        protocol = (
            OPENAI
            if name == "phi3_openai"
            else OPENAI.replace("  protocol: openai\n", "").replace("openai", "endpoint")
        )
        (tmp_path / "connections" / f"{name}.yml").write_text(protocol + secrets, encoding="utf-8")
    write_lines(tmp_path / "lines.jsonl", ROWS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHI3_KEY", KEY)

    def type_it(endpoint: FaultEndpoint, *flags: str, url: str | None = None) -> Any:
        monkeypatch.setenv("PHI3_ENDPOINT", url or endpoint.url)
        assert main(["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--name", "run", "--json", *flags]) == 0
        return json.loads(capsys.readouterr().out)

    return type_it


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer.json that makes a token of each word and sign."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    words.save(str(path))
    return path


def test_tokens_that_the_endpoint_reports_are_kept_and_priced(run: Run) -> None:
    connection = ["--connections", "chat.connection=phi3_openai"]
    with FaultEndpoint(key=KEY) as endpoint:
        prices = ["--price-in", "10", "--price-out", "100"]
        summary = run(endpoint, *connection, *prices, url=f"{endpoint.base_url}/v1")
        [*_, request] = endpoint.requests
    usages = [result.usage for result in RunFolder(Path(".runs/run")).results()]
    prompt = sum(len(message["content"].split()) for message in request.messages)
    assert [(usage.prompt_tokens, usage.completion_tokens, usage.counted_by) for usage in usages if usage] == [
        (prompt, 5, "endpoint")
    ] * 4
    cost = (4 * prompt * 10 + 4 * 5 * 100) / 1e6
    assert summary["tokens"] == {
        "prompt_tokens": 4 * prompt,
        "completion_tokens": 20,
        "n_endpoint": 4,
        "n_tokenizer": 0,
        "n_unknown": 0,
        "cost": pytest.approx(cost),
    }


@pytest.mark.parametrize("is_relative", [False, True])
def test_tokens_that_it_does_not_report_are_counted_from_what_was_sent_and_marked(
    run: Run, tokenizer: Path, is_relative: bool
) -> None:
    from tokenizers import Tokenizer

    words = Tokenizer.from_file(str(tokenizer))
    with FaultEndpoint(key=KEY) as endpoint:
        named = os.path.relpath(tokenizer) if is_relative else str(tokenizer)
        summary = run(endpoint, "--tokenizer", named)
        messages = endpoint.requests[0].messages
    prompt = sum(len(words.encode(message["content"]).ids) + 3 for message in messages) + 3
    completion = len(words.encode(f"echo: {ROWS[0]['question']}").ids)
    usage = RunFolder(Path(".runs/run")).results()[0].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.counted_by) == (prompt, completion, "tokenizer")
    assert summary["tokens"]["n_tokenizer"] == 4


def test_without_a_tokenizer_nothing_is_made_up(run: Run) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        summary = run(endpoint)
    assert summary["tokens"]["n_unknown"] == 4
    assert summary["tokens"]["prompt_tokens"] == 0
    assert RunFolder(Path(".runs/run")).results()[0].usage is None


def test_a_tokenizer_that_is_none_is_named_before_anything_is_sent(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        command = ["batch-run", "flows/chat_phi3", "--data", "lines.jsonl", "--tokenizer", "gone"]
        assert main(command) == 2
        assert endpoint.requests == []
    assert "there is no tokenizer at gone" in capsys.readouterr().err


def test_a_dry_run_counts_lines_and_tokens_and_sends_nothing(run: Run, tokenizer: Path) -> None:
    with FaultEndpoint(key=KEY) as endpoint:
        [before] = run(endpoint, "--dry-run", "--tokenizer", str(tokenizer), "--price-out", "2")["estimates"]
        assert endpoint.requests == []
        assert not Path(".runs").exists()
        tokens_out = 4 * 128
        assert (before["to_run"], before["tokens_out"], before["based_on"]) == (4, tokens_out, "tokenizer")
        assert before["cost"] == pytest.approx(tokens_out * 2 / 1e6)
        run(endpoint, "--tokenizer", str(tokenizer), "--limit", "2")
        [after] = run(endpoint, "--dry-run")["estimates"]
        assert len(endpoint.requests) == 2
    assert (after["completed"], after["to_run"], after["based_on"]) == (2, 2, "earlier lines")
    tokens = RunFolder(Path(".runs/run")).manifest.tokens
    assert tokens is not None
    assert (after["tokens_in"], after["tokens_out"]) == (tokens.prompt_tokens, tokens.completion_tokens)


def test_the_cache_answers_at_temperature_0_what_was_answered_before(run: Run) -> None:
    cached = ["--cache", "--column-mapping", "temperature=0", "--fresh"]
    with FaultEndpoint(key=KEY) as endpoint:
        assert run(endpoint, *cached)["cache_hits"] == 0
        first = [result.outputs for result in RunFolder(Path(".runs/run")).results()]
        summary = run(endpoint, *cached)
        assert len(endpoint.requests) == 4
        results = RunFolder(Path(".runs/run")).results()
        assert summary["cache_hits"] == 4
        assert [result.outputs for result in results] == first
        assert [(result.attempts, result.line_number) for result in results] == [(0, n) for n in range(4)]
        assert summary["counts"] == {"total": 4, "completed": 4, "failed": 0, "retries": 0}
        assert KEY.encode() not in Path(".phi3flow/answers.sqlite").read_bytes()
        run(endpoint, "--cache", "--column-mapping", "temperature=0.7", "--fresh")
        assert len(endpoint.requests) == 8, "answers that are sampled are not kept"
    with FaultEndpoint(key=KEY) as other:
        run(other, *cached)
        assert len(other.requests) == 4, "another endpoint answers for itself"


def test_a_run_does_not_pay_for_statistics_that_it_does_not_use(tmp_path: Path) -> None:
    """Importing SciPy would cost each run a second and 50 MB."""
    data = write_lines(tmp_path / "lines.jsonl", [{"question": "q"}])
    flow = str(FLOWS / "chat_phi3")
    command = f"from phi3flow.cli.main import main; main(['batch-run', {flow!r}, '--data', {str(data)!r}, '--dry-run'])"
    check = "import sys; print([name for name in ('numpy', 'scipy', 'pyarrow', 'promptflow') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{command}; {check}"], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
