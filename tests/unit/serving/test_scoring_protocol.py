"""A key that is not read is ignored and named where it cannot change the answer, and refused where it might."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi3flow.serving import protocol
from phi3flow.serving.azure.scoring_protocol import (
    IGNORED_HEADER,
    MAX_UNKNOWN_KEYS,
    NEUTRAL_VALUES,
    RequestError,
    ScoreParameters,
    ignored_header,
    is_inert,
    parse,
)
from tests.contract.test_wire_contract import JSON

MESSAGES = [{"role": "user", "content": "Hi"}]
INERT = ["details", "decoder_input_details", "user", "metadata", "store", "service_tier", "safety_identifier"]
INERT += ["prompt_cache_key", "model_name", "request_id", "session_id", "timeout", "use_cache", "x", "", "é", "___"]
NOT_HERE = sorted(NEUTRAL_VALUES.keys() - ScoreParameters.model_fields.keys())


def _score(**places: dict[str, Any]) -> bytes:
    parameters = places.get("parameters", {})
    input_data = {"input_string": MESSAGES, "parameters": parameters} | places.get("input_data", {})
    return json.dumps({"input_data": input_data} | places.get("body", {})).encode()


def _refusal(body: bytes) -> str:
    """Return why the script and the server refuse a body, which they do in the same words."""
    with pytest.raises(RequestError) as script:
        parse(body)
    with pytest.raises(protocol.RequestError) as server:
        protocol.parse_score(body)
    assert (script.value.status, str(script.value)) == (server.value.status, str(server.value))
    assert script.value.status == 422
    return str(script.value)


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("temperture", "temperature"),
        ("temprature", "temperature"),
        ("Temperature", "temperature"),
        ("temp", "temperature"),
        ("max_new_token", "max_new_tokens"),
        ("maxtokens", "max_new_tokens"),
        ("max_token", "max_new_tokens"),
        ("maxNewTokens", "max_new_tokens"),
        ("topp", "top_p"),
        ("top-p", "top_p"),
        ("do-sample", "do_sample"),
        ("stopp", "stop"),
        ("stops", "stop"),
        ("repetition_penality", "repetition_penalty"),
    ],
)
@pytest.mark.parametrize("value", [0, 1.0, [], {}, "x", False])
def test_a_misspelt_parameter_is_refused_with_what_is_meant(key: str, meant: str, value: Any) -> None:
    message = _refusal(_score(parameters={key: value}))
    assert message.startswith(f"input_data.parameters.{key}: not known here, perhaps {meant} is meant; known are temp")


def test_any_slip_in_a_known_key_is_refused() -> None:
    for key in ScoreParameters.model_fields:
        swapped = [f"{key[:at]}{key[at + 1]}{key[at]}{key[at + 2 :]}" for at in range(len(key) - 1)]
        left_out = [key[:at] + key[at + 1 :] for at in range(len(key))]
        doubled = [key[:at] + key[at] + key[at:] for at in range(len(key))]
        for slip in {*swapped, *left_out, *doubled, key.upper(), key.title(), key.replace("_", "")} - {key}:
            assert not is_inert(slip, 0), slip


@pytest.mark.parametrize("key", ["temperature", "messages", "max_tokens", "parameters", "input_string", "score_last"])
def test_a_key_that_belongs_elsewhere_is_refused(key: str) -> None:
    assert f"{key}: not known here; known are input_data" in _refusal(_score(body={key: 1}))
    with pytest.raises(RequestError, match="max_new_tokens: not known here"):
        parse(json.dumps({"messages": MESSAGES, "max_new_tokens": 4}).encode())


@given(value=JSON, key=st.sampled_from(INERT), place=st.sampled_from(["", "input_data", "input_data.parameters"]))
def test_what_nobody_follows_is_ignored_whatever_its_value(value: Any, key: str, place: str) -> None:
    name = place.rpartition(".")[2] or "body"
    body = _score(**{name: {key: value}})
    script, server = parse(body), protocol.parse_score(body)
    assert script.ignored == server.ignored == (() if value is None else (f"{place}.{key}".lstrip("."),))
    assert script[:-1] == parse(_score())[:-1]


@pytest.mark.parametrize("key", NOT_HERE)
def test_what_would_change_the_answer_is_ignored_only_where_it_asks_nothing(key: str) -> None:
    for value in ([], {}, *NEUTRAL_VALUES[key]):
        body = _score(parameters={key: value})
        assert parse(body).ignored == protocol.parse_score(body).ignored == (f"input_data.parameters.{key}",)
    assert f"{key}: not known here; known are" in _refusal(_score(parameters={key: 1.5}))


@pytest.mark.parametrize(
    ("key", "inert", "changing"),
    [
        ("top_k", -1, 50),
        ("repetition_penalty", 1.0, 1.2),
        ("presence_penalty", 0, 0.5),
        ("n", 1, 2),
        ("logprobs", False, True),
        ("return_full_text", False, True),
        ("params", {}, {"temperature": 0.5}),
        ("tools", [], [{"type": "function"}]),
        ("response_format", {"type": "text"}, {"type": "json_object"}),
    ],
)
def test_parameters_of_other_servers(key: str, inert: Any, changing: Any) -> None:
    for place in ("body", "input_data", "parameters"):
        assert len(parse(_score(**{place: {key: inert}})).ignored) == 1
        assert f"{key}: not known here" in _refusal(_score(**{place: {key: changing}}))


def test_both_chats_follow_the_rule() -> None:
    chat = {"model": "m", "messages": MESSAGES, "details": True, "n": 1, "user": "somebody", "seed": None}
    ignored = ("details", "n", "user")
    body = json.dumps(chat).encode()
    assert parse(body).ignored == protocol.parse_chat_completion(body).ignored == ignored
    body = json.dumps(chat | {"max-token": 5}).encode()
    with pytest.raises(RequestError, match="max-token: not known here, perhaps max_tokens is meant"):
        parse(body)
    with pytest.raises(protocol.RequestError, match="max-token: not known here, perhaps max_tokens is meant"):
        protocol.parse_chat_completion(body)


def test_what_openais_chat_reads_is_known_to_both() -> None:
    read = set(protocol._OpenAIBody.read_keys()) - {"model"}
    assert {key for key in read if is_inert(key, 1.5)} == set()


def test_an_object_full_of_unknown_keys_is_refused() -> None:
    keys = {f"k{number}": 0 for number in range(MAX_UNKNOWN_KEYS)}
    assert len(parse(_score(parameters=keys)).ignored) == MAX_UNKNOWN_KEYS
    assert "k0: not known here" in _refusal(_score(parameters=keys | {"another": 0}))


def test_a_message_has_no_other_keys() -> None:
    assert _refusal(_score(input_data={"input_string": [MESSAGES[0] | {"details": 1}]})).endswith("not known here")


@given(keys=st.lists(st.text(max_size=200), max_size=MAX_UNKNOWN_KEYS))
def test_the_header_is_printable_and_short_for_any_keys(keys: list[str]) -> None:
    header = ignored_header(keys)
    assert set(header) == ({IGNORED_HEADER} if keys else set())
    value = header.get(IGNORED_HEADER, "")
    assert re.fullmatch(r"[ -~]*", value)
    assert len(value) < 1500
    assert len(value.split(",")) <= 17


def test_the_header_names_the_keys() -> None:
    assert ignored_header(["params", "input_data.parameters.top_k"]) == {
        IGNORED_HEADER: "params, input_data.parameters.top_k"
    }
    assert ignored_header(["a,b\r\nc é"]) == {IGNORED_HEADER: "a?b??c??"}
    assert ignored_header(["x" * 500])[IGNORED_HEADER].endswith("xxx...")
    assert ignored_header(["x"] * 17)[IGNORED_HEADER] == "x, " * 16 + "..."
