"""The log-likelihood of a given answer, in both protocols, against a real server process and fine-tune's own loss."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import torch

from phi3flow.serving.loading import ChatTemplateError, LoadedModel, load_model
from phi3flow.training.examples import IGNORED_LABEL, encode_chats
from phi3flow.training.measurement import measure_loss
from tests.support.folders.tiny_phi3 import CONTEXT_TOKENS, save_tiny_phi3
from tests.support.servers.serving import ServerProcess

Chat = list[dict[str, str]]


def _chat(*contents: str, system: str = "") -> Chat:
    turns = [{"role": ("user", "assistant")[place % 2], "content": each} for place, each in enumerate(contents)]
    return ([{"role": "system", "content": system}] if system else []) + turns


CHATS = [
    _chat("Who founded Microsoft?", "Bill Gates and Paul Allen founded Microsoft in 1975."),
    _chat("What is the capital of France?", "Paris", system="Answer in one short sentence."),
    _chat("Costs?", "  39 euros,\n\nand it holds 1.7 litres. ", system="You are a helpful assistant."),
    _chat("北京在哪里?", "北京是中国的首都。"),
    _chat("Long?", "The blue kettle costs 39 euros and holds 1.7 litres. " * 8),
    _chat("Say nothing.", ""),
]
TURNS = _chat("Who founded Microsoft?", "Bill Gates.", "And when?", "In 1975.", system="Be brief.")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_phi3(tmp_path_factory.mktemp("likelihood") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> LoadedModel:
    return load_model(folder)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    with ServerProcess(folder, folder.parent / "log") as running:
        yield running


def _post(server: ServerProcess, chat: Chat, **parameters: Any) -> requests.Response:
    asked = {"score_last": True} | parameters
    return server.post("/score", {"input_data": {"input_string": chat, "parameters": asked}})


def _scored(server: ServerProcess, chat: Chat) -> dict[str, Any]:
    reply = _post(server, chat)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def _prompt_logprobs(server: ServerProcess, chat: Chat, **changes: Any) -> requests.Response:
    asked = {"model": "tiny", "messages": chat, "max_tokens": 1, "prompt_logprobs": 0, "add_generation_prompt": False}
    return server.post("/v1/chat/completions", asked | changes)


def test_a_file_of_answers_has_the_perplexity_that_fine_tune_reports(server: ServerProcess, model: LoadedModel) -> None:
    examples = encode_chats(model.tokenizer, CHATS, max_tokens=CONTEXT_TOKENS).examples
    scored = [_scored(server, chat) for chat in CHATS]
    assert [each["tokens"] for each in scored] == [
        sum(label != IGNORED_LABEL for label in example["labels"]) for example in examples
    ]
    loss = -sum(each["log_likelihood"] for each in scored) / sum(each["tokens"] for each in scored)
    expected = measure_loss(model.model, examples, batch_size=2)
    assert loss == pytest.approx(expected, rel=1e-5)
    assert math.exp(loss) == pytest.approx(math.exp(expected), rel=1e-4)


def test_the_given_answer_comes_back_with_its_figures(server: ServerProcess) -> None:
    answer = _scored(server, CHATS[0])
    assert answer.keys() == {"output", "log_likelihood", "tokens"}
    assert answer["output"] == CHATS[0][-1]["content"]
    assert answer["log_likelihood"] < 0


def test_only_the_last_answer_counts_and_the_history_conditions_it(server: ServerProcess, model: LoadedModel) -> None:
    tokens, start = model.encode_answered(TURNS)
    with torch.inference_mode():
        log_likelihoods = model.model(torch.tensor([tokens]), use_cache=False).logits[0].log_softmax(dim=-1)
    expected = sum(float(log_likelihoods[place - 1, tokens[place]]) for place in range(start, len(tokens)))
    answer = _scored(server, TURNS)
    assert model.tokenizer.decode(tokens[start:]) == "In 1975.<|end|>\n<|endoftext|>"
    assert answer["tokens"] == len(tokens) - start
    assert answer["log_likelihood"] == pytest.approx(expected, rel=1e-5)
    assert _scored(server, TURNS[3:])["log_likelihood"] != pytest.approx(expected, rel=1e-3)


def test_the_figures_are_the_same_bits_alone_and_among_others(server: ServerProcess) -> None:
    alone = [_scored(server, chat) for chat in CHATS]

    def ask(number: int) -> dict[str, Any]:
        if number % 3 == 0:
            server.score(f"question {number}", max_new_tokens=20)
        return _scored(server, CHATS[number % len(CHATS)])

    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(ask, range(36)))
    assert together == [alone[number % len(CHATS)] for number in range(36)]


def test_a_request_without_score_last_is_answered_as_before(server: ServerProcess) -> None:
    reply = _post(server, CHATS[0][:1], score_last=False, max_new_tokens=4)
    assert list(reply.json()) == ["output"]


@pytest.mark.parametrize("chat", [CHATS[0][:1], CHATS[0][1:], TURNS[:-1]], ids=["question", "answer", "next question"])
def test_what_does_not_end_with_an_answer_to_something_is_refused(server: ServerProcess, chat: Chat) -> None:
    reply = _post(server, chat)
    assert reply.status_code == 422
    assert "score_last scores the last message, which must be the assistant's" in reply.json()["error"]["message"]


def test_a_scored_chat_beyond_the_context_is_refused_with_both_figures(server: ServerProcess) -> None:
    reply = _post(server, _chat("Hi", "%" * 2 * CONTEXT_TOKENS))
    assert reply.status_code == 422
    assert f"reads {CONTEXT_TOKENS}" in reply.json()["error"]["message"]


def test_openai_gives_what_vllm_gives_for_the_prompts_tokens(server: ServerProcess, model: LoadedModel) -> None:
    for chat in (*CHATS, TURNS):
        tokens, start = model.encode_answered(chat)
        reply = _prompt_logprobs(server, chat).json()
        first, *others = reply["prompt_logprobs"]
        assert first is None
        assert [list(each) for each in others] == [[str(token)] for token in tokens[1:]]
        asked = _prompt_logprobs(server, chat[:-1], add_generation_prompt=True)
        assert asked.json()["usage"]["prompt_tokens"] == start
        logprobs = [each["logprob"] for entry in others[start - 1 :] for each in entry.values()]
        answer = _scored(server, chat)
        assert (math.fsum(logprobs), len(logprobs)) == (answer["log_likelihood"], answer["tokens"])


def test_openai_says_nothing_of_the_prompt_unless_asked(server: ServerProcess) -> None:
    assert "prompt_logprobs" not in _prompt_logprobs(server, CHATS[0], prompt_logprobs=None).json()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt_logprobs": 5}, "prompt_logprobs: only 0 is served"),
        ({"prompt_logprobs": True}, "prompt_logprobs: only 0 is served"),
        ({"stream": True}, "prompt_logprobs: not with stream"),
        ({"add_generation_prompt": "no"}, "add_generation_prompt"),
    ],
)
def test_openai_refuses_what_it_does_not_serve_of_it(server: ServerProcess, changes: Any, words: str) -> None:
    reply = _prompt_logprobs(server, CHATS[0], **changes)
    assert reply.status_code == 422
    assert words in reply.json()["error"]["message"]


def test_a_template_that_does_not_continue_its_prompt_is_refused(folder: Path, tmp_path: Path) -> None:
    model = load_model(folder)
    model.tokenizer.chat_template = "{{ 'ask ' if add_generation_prompt else 'told ' }}{{ messages | length }}"
    with pytest.raises(ChatTemplateError, match="whose tokens are whose"):
        model.encode_answered(CHATS[0])


def test_scores_leave_no_text_in_the_log(server: ServerProcess) -> None:
    _scored(server, _chat("Where?", "the-treasure-lies-under-the-oak"))
    log = server.log.read_text()
    assert "treasure" not in log
    assert all(json.loads(line) for line in log.splitlines() if line.startswith('{"time"'))
