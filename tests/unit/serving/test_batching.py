"""Requests share steps, and none notices: not in its answer, not when another one fails or goes away."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest
import torch

from phi3flow.serving.batching import SLOTS, Batcher, Generation, QueueFullError, StoppingError
from phi3flow.serving.loading import LoadedModel, load_model
from phi3flow.serving.sampling import SamplingParameters
from tests.support.folders.tiny_phi3 import CONTEXT_TOKENS, SENTENCES, save_tiny_phi3

GREEDY = SamplingParameters(temperature=0, max_new_tokens=24)
LONG = SamplingParameters(temperature=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(save_tiny_phi3(tmp_path_factory.mktemp("model")))


@pytest.fixture
def batcher(model: LoadedModel) -> Iterator[Batcher]:
    batcher = Batcher(model, max_waiting=1000)
    yield batcher
    batcher.close()


@pytest.fixture(scope="module")
def prompts(model: LoadedModel) -> list[list[int]]:
    """Return 200 prompts of 5 to 215 tokens, so that conversations cross from one span to the next."""
    chooser = random.Random(0)
    words = " ".join(SENTENCES).split()
    contents = [" ".join(chooser.choices(words, k=chooser.randint(1, 55))) for _ in range(200)]
    prompts = [model.encode_chat([{"role": "user", "content": content}]) for content in contents]
    return [prompt[: CONTEXT_TOKENS - 40] for prompt in prompts]


def test_greedy_answers_are_the_same_alone_and_in_a_batch(batcher: Batcher, prompts: list[list[int]]) -> None:
    assert len({len(prompt) for prompt in prompts}) > 50
    alone = [batcher.submit(prompt, GREEDY).result() for prompt in prompts]
    together = [future.result() for future in [batcher.submit(prompt, GREEDY) for prompt in prompts]]
    assert together == alone


def test_seeded_answers_are_the_same_alone_and_in_a_batch(batcher: Batcher, prompts: list[list[int]]) -> None:
    def seeded(number: int) -> SamplingParameters:
        return SamplingParameters(temperature=1.0, top_p=0.5 + number / 100, max_new_tokens=16, seed=number)

    alone = [batcher.submit(prompt, seeded(number)).result() for number, prompt in enumerate(prompts[:40])]
    futures = [batcher.submit(prompt, seeded(number)) for number, prompt in enumerate(prompts[:40])]
    assert [future.result() for future in futures] == alone


def test_greedy_answers_are_those_of_transformers(
    model: LoadedModel, batcher: Batcher, prompts: list[list[int]]
) -> None:
    futures = [batcher.submit(prompt, GREEDY) for prompt in prompts[:6]]
    for prompt, future in zip(prompts[:6], futures, strict=True):
        with torch.inference_mode():
            tokens = model.model.generate(torch.tensor([prompt]), max_new_tokens=24, do_sample=False)
        assert future.result().text == model.decode(tokens[0, len(prompt) :].tolist())


def test_an_end_token_ends_the_answer(model: LoadedModel, batcher: Batcher, prompts: list[list[int]]) -> None:
    whole = batcher.submit(prompts[0], GREEDY).result()
    assert (whole.finish_reason, whole.completion_tokens) == ("length", 24)
    with torch.inference_mode():
        tokens = model.model.generate(torch.tensor([prompts[0]]), max_new_tokens=24, do_sample=False)
    fifth = int(tokens[0, len(prompts[0]) + 4])
    ending = Batcher(LoadedModel(model.model, model.tokenizer, model.context_tokens, frozenset({fifth})))
    ended = ending.submit(prompts[0], GREEDY).result()
    ending.close()
    assert ended.finish_reason == "stop"
    assert ended.completion_tokens <= 5
    assert whole.text.startswith(ended.text)


def test_a_request_joins_while_others_are_answered(batcher: Batcher, prompts: list[list[int]]) -> None:
    started = threading.Event()
    long = batcher.submit(prompts[0][:9], LONG, on_text=lambda _: started.set())
    assert started.wait(30)
    short = batcher.submit(prompts[1], SamplingParameters(temperature=0, max_new_tokens=2))
    short.result(30)
    assert not long.done()
    assert long.result(60).completion_tokens == CONTEXT_TOKENS - 9


def test_a_prompt_waits_for_others_to_be_read_with_but_not_for_an_end(
    model: LoadedModel, prompts: list[list[int]]
) -> None:
    batcher = Batcher(model, slots=3)
    started = [threading.Event(), threading.Event()]
    long = [batcher.submit(prompts[0][:9], LONG, on_text=lambda _, each=each: each.set()) for each in started]
    assert all(each.wait(30) for each in started)
    batcher.submit(prompts[1][:9], SamplingParameters(temperature=0, max_new_tokens=2)).result(30)
    assert not any(future.done() for future in long)
    batcher.close()


def test_more_requests_than_the_bound_are_refused(model: LoadedModel, prompts: list[list[int]]) -> None:
    batcher = Batcher(model, slots=1, max_waiting=2)
    started = threading.Event()
    first = batcher.submit(prompts[0][:9], LONG, on_text=lambda _: started.set())
    assert started.wait(30)
    waiting = [batcher.submit(prompts[1], GREEDY) for _ in range(2)]
    with pytest.raises(QueueFullError):
        batcher.submit(prompts[2], GREEDY)
    assert batcher.waiting == 2
    wait([first, *waiting], timeout=60)
    batcher.submit(prompts[2], GREEDY).result(60)
    batcher.close()


def test_a_cancelled_request_frees_its_slot(model: LoadedModel, prompts: list[list[int]]) -> None:
    batcher = Batcher(model, slots=1)
    pieces: list[str] = []
    started = threading.Event()

    def listen(piece: str) -> None:
        pieces.append(piece)
        started.set()

    long = batcher.submit(prompts[0][:9], LONG, on_text=listen)
    assert started.wait(30)
    long.cancel()
    batcher.submit(prompts[1], GREEDY).result(30)
    assert len("".join(pieces)) < CONTEXT_TOKENS / 2
    batcher.close()


def test_a_request_whose_text_cannot_be_sent_fails_alone(batcher: Batcher, prompts: list[list[int]]) -> None:
    def hang_up(_: str) -> None:
        raise BrokenPipeError("gone")

    broken = batcher.submit(prompts[0], GREEDY, on_text=hang_up)
    others = [batcher.submit(prompt, GREEDY) for prompt in prompts[1:4]]
    assert isinstance(broken.exception(30), BrokenPipeError)
    assert all(other.result(30).completion_tokens == 24 for other in others)


def test_a_prompt_that_breaks_the_model_fails_alone(batcher: Batcher, prompts: list[list[int]]) -> None:
    good = batcher.submit(prompts[0], GREEDY)
    broken = batcher.submit([10**9], GREEDY)
    assert isinstance(broken.exception(30), IndexError)
    assert good.result(30) == batcher.submit(prompts[0], GREEDY).result(30)


def test_closing_fails_what_is_not_answered(model: LoadedModel, prompts: list[list[int]]) -> None:
    batcher = Batcher(model, slots=1)
    futures: list[Future[Generation]] = [batcher.submit(prompts[0][:9], LONG) for _ in range(3)]
    batcher.close()
    assert all(isinstance(future.exception(5), StoppingError) for future in futures)
    with pytest.raises(StoppingError):
        batcher.submit(prompts[0], GREEDY)


def test_requests_may_come_from_many_threads(model: LoadedModel, prompts: list[list[int]]) -> None:
    sizes: list[int] = []
    batcher = Batcher(model, on_step=sizes.append)
    with ThreadPoolExecutor(2 * SLOTS) as pool:
        answers = list(pool.map(lambda prompt: batcher.submit(prompt, GREEDY).result(60), prompts[: 2 * SLOTS]))
    batcher.close()
    assert len(answers) == 2 * SLOTS
    assert 1 < max(sizes) <= SLOTS


def test_requests_may_come_while_those_that_wait_are_counted(model: LoadedModel, prompts: list[list[int]]) -> None:
    class SlowlyCounted(list[int]):
        def __len__(self) -> int:
            time.sleep(0.0002)  # lets other threads submit
            return super().__len__()

    batcher = Batcher(model)
    with ThreadPoolExecutor(2 * SLOTS) as pool:
        submitted = pool.map(lambda prompt: batcher.submit(SlowlyCounted(prompt), GREEDY), prompts[: 2 * SLOTS])
        answers = [future.result(60) for future in submitted]
    batcher.close()
    assert len(answers) == 2 * SLOTS
