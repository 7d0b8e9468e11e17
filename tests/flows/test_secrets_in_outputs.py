"""Secrets are cut out of whatever a tool returns, wherever they stand in it; the record stays whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models

from phi3flow.flows import load_flow
from phi3flow.runner import RunPlan, run_flow
from phi3flow.runs.folder import RunFolder
from tests.support.flows.foreign_flows import connection, write_flow, write_lines
from tests.support.run_options import run_options

CODE = """
import json, urllib.parse
from promptflow.connections import CustomConnection
from promptflow.core import tool

class Told(str): pass

def throw(error): raise error

def told(usage):
    text = Told("told")
    text.usage = usage
    return text

@tool
def ask(question: str, connection: CustomConnection) -> object:
    key = connection.key
    return eval(question)
"""
PLACES = [
    "key",
    "{key: 1}",
    "{'a': [{key: key}, {'x' + key: 1}]}",
    "{key: 1, key + key: 2, '***': 3}",
    "['a ' + key + ' b']",
    "json.dumps({'body': key})",
    "json.dumps(json.dumps({'body': key}))",
    "repr({'body': key})",
    "urllib.parse.quote(key)",
    "urllib.parse.urlencode({'key': key})",
    "throw(ValueError(key))",
    "throw(ValueError('x' * (2000 - len(key) // 2) + key))",
    "throw(KeyError(key))",
    "throw(type('E' + key, (Exception,), {})('odd'))",
    "[float(key)] if key.isdigit() else key",
    "[int(key) * 1000 + 1] if key.isdigit() else key",
]
SECRETS = {
    "plain": "key-of-the-test",
    "odd": "p\\u00e4ss\"w\\\\ord/+ 'x'\t\n\u2028",
    "digits": "123456789012",
    "a name of the record": "aggregation_inputs",
}
WORDS = ("ollama", "outputs", "Completed", "line_number", "answer", "12345678", "key", "a")


@pytest.mark.parametrize("kind", SECRETS)
def test_no_secret_leaves_and_every_record_can_be_read(tmp_path: Path, kind: str) -> None:
    secret = SECRETS[kind]
    run = _run(tmp_path, PLACES, secret)
    results = run.results()
    assert len(results) == len(PLACES)
    assert [result.status for result in results] == ["Failed" if "throw" in text else "Completed" for text in PLACES]
    for result, text in zip(results, PLACES, strict=True):
        said = json.dumps(list(_texts([(result.outputs or {}).get("answer"), result.error and result.error.message])))
        assert secret[:7] not in "".join(json.loads(said)), text
        assert "***" in said or "throw(type" in text or text.startswith(("[float", "[int")), text
    collision = results[PLACES.index("{key: 1, key + key: 2, '***': 3}")].outputs
    assert collision
    assert sorted(collision["answer"].values()) == [1, 2, 3]


@pytest.mark.parametrize("secret", WORDS)
def test_a_key_that_may_be_a_word_stays_in_answers_and_is_cut_out_of_errors_where_it_stands_alone(
    tmp_path: Path, secret: str
) -> None:
    """``ollama`` is Ollama's own advice: answers that said it were ***. A key of one letter ruined every message."""
    error = "throw(ValueError('bad key: ' + key + '; x' + key + 'y'))"
    said, nested, failed = _run(tmp_path, ["'We use ' + key + ', mostly'", "{key: [key]}", error], secret).results()
    assert said.outputs == {"answer": f"We use {secret}, mostly"}
    assert nested.outputs == {"answer": {secret: [secret]}}
    assert failed.error
    cut = secret if len(secret) < 4 else "***"
    assert failed.error.message == f"bad key: {cut}; x{secret}y"


USAGES = [
    "told({'prompt_tokens': 3, 'completion_tokens': 4})",
    "told({'prompt_tokens': -3, 'completion_tokens': 10 ** 30})",
    "told({'prompt_tokens': '3', 'completion_tokens': None})",
    "told({'prompt_tokens': float('nan'), 'completion_tokens': 1.5})",
    "told({'prompt_tokens': [1], 'completion_tokens': {}})",
    "told({'prompt_tokens': 10 ** 5000, 'completion_tokens': 1})",
    "told(object())",
    "told(type('U', (dict,), {'get': lambda *a: 1 / 0})())",
    "told(type('U', (), {'__class__': property(lambda s: 1 / 0)})())",
]


def test_odd_usage_ends_no_run(tmp_path: Path) -> None:
    results = _run(tmp_path, USAGES, "key-of-the-test").results()
    assert len(results) == len(USAGES)
    assert results[0].usage is not None
    assert {result.error.type for result in results if result.error} <= {"ZeroDivisionError", "TypeError", "ValueError"}


def test_half_a_character_is_counted_as_what_it_becomes(tmp_path: Path) -> None:
    words = Tokenizer(models.WordLevel({"half": 0, "?": 1}, unk_token="?"))
    words.save(str(tmp_path / "tokenizer.json"))
    expressions = ["'half \\ud83d'"]
    results = _run(tmp_path, expressions, "key-of-the-test", tokenizer=tmp_path / "tokenizer.json").results()
    assert [result.error for result in results] == [None]
    assert results[0].usage is not None


def _run(folder: Path, expressions: list[str], secret: str, **more: Any) -> RunFolder:
    flow = load_flow(write_flow(folder / "flow", CODE, connection="endpoint"))
    lines = write_lines(folder / "lines.jsonl", [{"question": text} for text in expressions])
    options = run_options(concurrency=4, timeout_s=30.0, max_retries=0, **more)
    plan = RunPlan(flow, lines, folder / "runs", name="run", options=options)
    return run_flow(plan, connections=lambda name: connection("http://127.0.0.1:9", key=secret))


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in _texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in _texts(part)]
    return [] if value is None else [str(value)]
