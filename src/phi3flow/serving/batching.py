"""Answer many requests together: one thread that runs the model, in steps that requests join and leave.

Between two steps waiting requests that find a free slot are read (prefill) and join; a step then gives every
conversation in flight one more token (continuous batching; Yu et al. 2022, Orca, section 3). A request never waits
for another one's end, only for a slot, and where many are in flight for a few steps, to be read together with others.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, NamedTuple

import torch

from phi3flow.serving.answers import AnswerText
from phi3flow.serving.decoder import Decoder
from phi3flow.serving.loading import SINGLE_THREAD_PARAMETERS, LoadedModel
from phi3flow.serving.sampling import SamplingParameters, pick_tokens
from phi3flow.serving.slots import Decode, Prefill

SLOTS = 32
MAX_WAITING = 128
READ_TOGETHER = 64
"""Rows of the pass that reads short prompts. A pass costs a small model about the same for 20 tokens and for 60."""
PATIENCE = 4
"""Decode steps that prompts wait for others to be read with, while more than half of the slots are taken."""


class QueueFullError(Exception):
    """As many requests as the bound allows have a slot or wait for one."""


class StoppingError(Exception):
    """The batcher was closed before the answer was complete."""


class ScoredToken(NamedTuple):
    """A token of the prompt, and its log-likelihood in nats given those before it."""

    token_id: int
    log_likelihood: float


@dataclass(frozen=True)
class Generation:
    """A complete answer; ``completion_tokens`` counts the token that ended it, as vLLM does.

    ``scored`` has the prompt's tokens from the one on that the request named.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: Literal["stop", "length"]
    scored: tuple[ScoredToken, ...] = ()


class _Conversation:
    """One request from submission to answer; ``slot`` counts once it is in flight, ``scored`` once it was read."""

    def __init__(
        self,
        model: LoadedModel,
        prompt: list[int],
        parameters: SamplingParameters,
        answer: AnswerText,
        scored_from: int | None,
    ) -> None:
        room = model.context_tokens - len(prompt)
        self.prompt = prompt
        self.parameters = parameters
        self.scored_from = scored_from
        self.scored: tuple[ScoredToken, ...] = ()
        self.max_new_tokens = min(parameters.max_new_tokens or room, room)
        self.future: Future[Generation] = Future()
        self.slot = 0
        self.tokens: list[int] = []
        self.generator = random.Random(random.getrandbits(64) if parameters.seed is None else parameters.seed)
        self._answer = answer
        self._end_token_ids = model.end_token_ids

    @property
    def position(self) -> int:
        """Where the latest token stands in the conversation, from 0."""
        return len(self.prompt) + len(self.tokens) - 1

    def accept(self, token: int) -> bool:
        """Take the next token and return whether the conversation goes on; its future is done where not."""
        self.tokens.append(token)
        ended = token in self._end_token_ids
        if not ended:
            self._answer.push(token)
        if not (ended or self._answer.stopped or len(self.tokens) == self.max_new_tokens):
            return not self.future.cancelled()
        text = self._answer.finish()
        generation = Generation(
            text=text,
            prompt_tokens=len(self.prompt),
            completion_tokens=len(self.tokens),
            finish_reason="stop" if ended or self._answer.stopped else "length",
            scored=self.scored,
        )
        with suppress(InvalidStateError):  # the client hung up at this moment
            self.future.set_result(generation)
        return False

    def fail(self, error: Exception) -> None:
        """Give up on the answer."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)


class Batcher:
    """The thread that runs the model; ``submit`` may be called from any thread.

    ``on_step`` is told how many conversations each decode step served. Cancel a request's future to free its slot.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        slots: int = SLOTS,
        max_waiting: int = MAX_WAITING,
        on_step: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._model = model
        self._device = model.device
        self._max_requests = slots + max_waiting
        self._on_step = on_step
        self._decoder = Decoder(model.model, context_tokens=model.context_tokens)
        self._cache = self._decoder.new_cache(slots)
        self._free = list(range(slots))
        self._active: dict[int, _Conversation] = {}
        self._waiting: deque[_Conversation] = deque()
        self._changed = threading.Condition()
        self._waited = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._thread.start()

    def submit(
        self,
        prompt: list[int],
        parameters: SamplingParameters,
        *,
        on_text: Callable[[str], None] | None = None,
        scored_from: int | None = None,
    ) -> Future[Generation]:
        """Queue a prompt shorter than the context; ``on_text`` gets the answer's pieces, in the batcher's thread.

        The prompt's tokens from number ``scored_from`` on, 1 or more, come back with their log-likelihoods.
        Raises QueueFullError, StoppingError.
        """
        answer = AnswerText(self._model.decode, stop=parameters.stop, on_text=on_text)
        conversation = _Conversation(self._model, prompt, parameters, answer, scored_from)
        with self._changed:
            if self._closed:
                raise StoppingError
            if len(self._active) + len(self._waiting) >= self._max_requests:
                raise QueueFullError
            self._waiting.append(conversation)
            self._changed.notify()
        return conversation.future

    @property
    def waiting(self) -> int:
        """How many requests have no slot yet."""
        return len(self._waiting)

    def close(self) -> None:
        """End the thread after the step it is in; requests that are not answered fail with StoppingError."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        if self._device.type == "cpu" and self._model.model.num_parameters() < SINGLE_THREAD_PARAMETERS:
            torch.set_num_threads(1)
        with torch.inference_mode():
            while self._wait_for_work():
                self._admit()
                if self._active:
                    self._advance(list(self._active.values()), self._decode)
        for conversation in (*self._active.values(), *self._waiting):
            conversation.fail(StoppingError())

    def _wait_for_work(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._active or self._waiting)
            return not self._closed

    def _admit(self) -> None:
        """Read the waiting prompts for which there is a slot, unless it pays to wait for more."""
        busy = 2 * len(self._active) > self._cache.slots
        with self._changed:  # requests come in meanwhile, and a deque that grows cannot be gone through
            rows = sum(len(conversation.prompt) for conversation in self._waiting)
        if busy and self._waited < PATIENCE and rows < READ_TOGETHER:
            self._waited += 1
            return
        self._waited = 0
        while together := self._take_slots():
            self._advance(together, self._read)

    def _take_slots(self) -> list[_Conversation]:
        """Give slots to the next waiting requests whose prompts are read in one pass."""
        together: list[_Conversation] = []
        rows = 0
        while self._free and self._waiting:
            if self._waiting[0].future.cancelled():
                self._waiting.popleft()
                continue
            rows += len(self._waiting[0].prompt)
            if together and rows > READ_TOGETHER:
                break
            conversation = self._waiting.popleft()
            conversation.slot = self._free.pop(0)
            self._active[conversation.slot] = conversation
            together.append(conversation)
        return together

    def _read(self, conversations: list[_Conversation]) -> torch.Tensor:
        """Read prompts that fit one pass, and return the logits after each, [prompts, vocabulary]."""
        lengths = {conversation.slot: len(conversation.prompt) for conversation in conversations}
        ends = [len(conversation.prompt) + conversation.max_new_tokens for conversation in conversations]
        self._cache.reserve(max(ends))
        unused = [0] * (READ_TOGETHER - sum(lengths.values()))
        tokens = [token for conversation in conversations for token in conversation.prompt] + unused
        positions = [position for length in lengths.values() for position in range(length)] + unused
        hidden = self._decoder.forward(
            torch.tensor(tokens, device=self._device),
            torch.tensor(positions, device=self._device),
            Prefill(self._cache, lengths),
        )
        ends = list(accumulate(lengths.values()))
        for conversation, end in zip(conversations, ends, strict=True):
            if conversation.scored_from is not None:
                conversation.scored = self._score(conversation, conversation.scored_from, hidden[:end])
        return torch.cat([self._decoder.logits(hidden[end - 1 : end]) for end in ends])

    def _score(self, conversation: _Conversation, first: int, hidden: torch.Tensor) -> tuple[ScoredToken, ...]:
        """Score the prompt's tokens from ``first`` on; its rows are the last of ``hidden`` [rows, hidden].

        A bounded number at a time: a long prompt's logits over a large vocabulary would take gigabytes.
        """
        scored: list[ScoredToken] = []
        preceding = hidden[first - 1 - len(conversation.prompt) : -1]
        for start in range(0, len(preceding), READ_TOGETHER):
            tokens = conversation.prompt[first + start :][:READ_TOGETHER]
            logits = self._decoder.logits(preceding[start : start + READ_TOGETHER]).float()
            picked = logits.gather(1, torch.tensor(tokens, device=logits.device)[:, None])[:, 0]
            log_likelihoods: list[float] = (picked - logits.logsumexp(dim=-1)).tolist()
            scored += map(ScoredToken, tokens, log_likelihoods)
        return tuple(scored)

    def _decode(self, conversations: list[_Conversation]) -> torch.Tensor:
        """Take one step with every slot, and return the logits after each conversation's latest token."""
        self._on_step(len(conversations))
        latest = [0] * self._cache.slots
        for conversation in conversations:
            latest[conversation.slot] = conversation.tokens[-1]
        step = Decode(self._cache, {conversation.slot: conversation.position for conversation in conversations})
        tokens = torch.tensor(latest, device=self._device)
        logits = self._decoder.logits(self._decoder.forward(tokens, step.positions, step))
        slots = [conversation.slot for conversation in conversations]
        return logits.index_select(0, torch.tensor(slots, device=logits.device))

    def _advance(self, conversations: list[_Conversation], run: Callable[[list[_Conversation]], torch.Tensor]) -> None:
        """Give each conversation the next token that ``run``'s logits say; those that end or fail, leave."""
        try:
            tokens = pick_tokens(
                run(conversations),
                [conversation.parameters for conversation in conversations],
                [conversation.generator for conversation in conversations],
            )
        except Exception as error:  # the pass is shared: all fail, the next requests start afresh
            for conversation in conversations:
                conversation.fail(error)
                self._leave(conversation)
            return
        for conversation, token in zip(conversations, tokens, strict=True):
            if not self._accept(conversation, token):
                self._leave(conversation)

    @staticmethod
    def _accept(conversation: _Conversation, token: int) -> bool:
        try:
            return conversation.accept(token)
        except Exception as error:  # its text could not be decoded or sent: that is this request's alone
            conversation.fail(error)
            return False

    def _leave(self, conversation: _Conversation) -> None:
        del self._active[conversation.slot]
        self._free.append(conversation.slot)
        self._free.sort()
