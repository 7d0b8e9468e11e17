"""The bodies of /score and of MLflow's chat, and which keys may stand in them.

A key that is not read here is ignored, and named in the answer's header ``x-ignored-keys``, where it cannot be meant to
change the answer. It is refused where it is spelt nearly like one that is known, belongs elsewhere, or would change the
answer if it were followed, unless its value asks for nothing: a misspelt ``temprature`` that is ignored would spoil an
evaluation. The file goes into Azure's container beside score.py and imports nothing of phi3flow; ``phi3flow serve``
reads the same bodies by importing it.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import from_json

SCORE_TEMPERATURE = 0.0
"""/score without a temperature: greedy, as Hugging Face generates unless it is told to sample."""
MAX_STOPS = 16
MAX_UNKNOWN_KEYS = 32
"""An object with more of them is refused: each is compared with every key that is known."""
IGNORED_HEADER = "x-ignored-keys"
MAX_NAME_CHARACTERS = 80
MAX_NAMES = 16
CLOSE = 0.75
"""difflib's ratio from which on a key may be a misspelling: top_a and max_token are, stores and details are not."""
SHORTEST_ABBREVIATION = 4

NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {
    # OpenAI's
    "n": (1,),
    "best_of": (1,),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "response_format": ({"type": "text"},),
    "echo": (False,),
    "tools": (),
    "tool_choice": ("none", "auto"),
    "parallel_tool_calls": (True, False),
    "functions": (),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
    "max_tokens": (),
    "suffix": (),
    "max_completion_tokens": (),
    "stream": (False,),
    "stream_options": (),
    # vLLM's
    "top_k": (-1, 0),
    "min_p": (0,),
    "repetition_penalty": (1,),
    "length_penalty": (1,),
    "min_tokens": (0,),
    "use_beam_search": (False,),
    "ignore_eos": (False,),
    "stop_token_ids": (),
    "bad_words": (),
    "include_stop_str_in_output": (False,),
    "skip_special_tokens": (True,),
    "prompt_logprobs": (),
    "spaces_between_special_tokens": (True,),
    "allowed_token_ids": (),
    "logits_processors": (),
    "truncate_prompt_tokens": (),
    "add_generation_prompt": (True,),
    "continue_final_message": (False,),
    "add_special_tokens": (False,),
    "documents": (),
    "chat_template": (),
    "chat_template_kwargs": (),
    "structured_outputs": (),
    "guided_json": (),
    "guided_regex": (),
    "guided_choice": (),
    "guided_grammar": (),
    # Hugging Face's and MLflow's
    "return_full_text": (False,),
    "max_length": (),
    "min_length": (0,),
    "min_new_tokens": (0,),
    "max_time": (),
    "num_beams": (1,),
    "num_beam_groups": (1,),
    "num_return_sequences": (1,),
    "early_stopping": (False,),
    "no_repeat_ngram_size": (0,),
    "typical_p": (1,),
    "penalty_alpha": (0,),
    "bad_words_ids": (),
    "truncate": (),
    "stop_sequences": (),
    "stop_strings": (),
    "eos_token_id": (),
    "watermark": (False,),
    "grammar": (),
    "params": (),
    "prompt": (),
    "inputs": (),
    "system": (),
    "system_prompt": (),
    "chat_history": (),
}
"""Keys that change an answer where they are followed, and are not here, with the values that, as [] and {}, ask for
nothing."""


class RequestError(Exception):
    """A request that is refused: an HTTP status, a short code, and a message for a person."""

    def __init__(self, status: int, code: str, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "invalid_request_error" if status < 500 else "server_error"
        self.body = {"error": {"message": message, "type": kind, "param": parameter, "code": code}}


class Body(BaseModel):
    """A JSON object whose null fields count as absent, and whose unknown fields are refused."""

    place: ClassVar[str | None] = None
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_what_is_not_read(cls, value: Any, info: ValidationInfo) -> Any:
        if not isinstance(value, dict):
            return value
        present = {key: item for key, item in value.items() if item is not None}
        read = set(cls.read_keys())
        ignored = dict.fromkeys(cls._inert_keys({key: item for key, item in present.items() if key not in read}))
        if info.context is not None and cls.place is not None:
            info.context.extend(f"{cls.place}{key}" for key in ignored)
        return {key: item for key, item in present.items() if key not in ignored}

    @classmethod
    def read_keys(cls) -> list[str]:
        """Return the keys that are read, as they are written."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def _inert_keys(cls, unknown: dict[str, Any]) -> list[str]:
        return []


class OpenBody(Body):
    """A JSON object at ``place`` whose inert unknown fields are ignored, and told to the list that is the context."""

    place: ClassVar[str | None] = ""

    @classmethod
    def _inert_keys(cls, unknown: dict[str, Any]) -> list[str]:
        if len(unknown) > MAX_UNKNOWN_KEYS:
            return []
        return [key for key, value in unknown.items() if is_inert(key, value)]


def is_inert(key: str, value: Any) -> bool:
    """Tell whether a key that is not read where it stands may be ignored without changing the answer."""
    if key in NEUTRAL_VALUES:
        return value in ([], {}, *NEUTRAL_VALUES[key])
    return _nearest(key, _known_keys()) is None


def explain_unknown(key: str, body: type[Body] | None) -> str:
    """Say of a key that is refused which are known in the body, and which of them may be meant."""
    names = body.read_keys() if body else []
    meant = None if key in _known_keys() else _nearest(key, names) or _nearest(key, _known_keys())
    perhaps = f", perhaps {meant} is meant" if names and meant else ""
    return f"not known here{perhaps}" + (f"; known are {', '.join(names)}" if names else "")


def ignored_header(keys: Sequence[str]) -> dict[str, str]:
    """Return the header that names what was ignored, in printable ASCII.

    azmlinfsrv makes a header of each name, and Python's http.client reads no answer that has more than 100.
    """
    names = [re.sub(r"[^!-+\--~]", "?", key) for key in keys[:MAX_NAMES]]
    names = [f"{name[:MAX_NAME_CHARACTERS]}..." if len(name) > MAX_NAME_CHARACTERS else name for name in names]
    more = ["..."] if len(keys) > MAX_NAMES else []
    return {IGNORED_HEADER: ", ".join(names + more)} if keys else {}


@functools.cache
def _known_keys() -> frozenset[str]:
    """Return every key that could be meant; the model's name is none, since any will do."""
    bodies: tuple[type[Body], ...] = (ScoreBody, ScoreInput, ScoreParameters, _ChatBody)
    return frozenset({*NEUTRAL_VALUES, *(key for body in bodies for key in body.read_keys())} - {"model"})


def _nearest(key: str, names: Iterable[str]) -> str | None:
    """Return the name that is spelt nearly like the key, or that it abbreviates, whatever case and hyphens."""
    letters, spelt = _letters(key[:MAX_NAME_CHARACTERS]), {_letters(name): name for name in sorted(names)}
    close = difflib.get_close_matches(letters, spelt, cutoff=CLOSE)
    if len(letters) >= SHORTEST_ABBREVIATION:
        close += [word for word in spelt if word.startswith(letters)]
    return spelt[max(close, key=lambda word: _same_beginning(word, letters))] if close else None


def _same_beginning(first: str, second: str) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _letters(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


def _one_conversation(value: Any) -> Any:
    """Unwrap [[message, …]]: some scoring scripts take a batch, and their clients send one of one."""
    if isinstance(value, list) and value and all(isinstance(item, list) for item in value):
        if len(value) > 1:
            raise ValueError(f"holds {len(value)} conversations; send one a request")
        return value[0]
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class ChatMessage(Body):
    """One turn; only the assistant's may be empty."""

    role: Literal["system", "user", "assistant"]
    content: str

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if self.role != "assistant" and not self.content.strip():
            raise ValueError(f"the {self.role} message is empty")
        return self


_Messages = Annotated[list[ChatMessage], Field(min_length=1), BeforeValidator(_one_conversation)]
StopStrings = Annotated[
    list[Annotated[str, Field(min_length=1)]], Field(max_length=MAX_STOPS), BeforeValidator(_as_list)
]
"""Where an answer is cut."""


class ScoreParameters(OpenBody):
    """How the answer to /score is generated."""

    place: ClassVar[str | None] = "input_data.parameters."
    temperature: float = Field(default=SCORE_TEMPERATURE, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int | None = Field(default=None, ge=1)
    do_sample: bool = True
    stop: StopStrings = []
    seed: int | None = None
    score_last: bool = False


class ScoreInput(OpenBody):
    """The conversation and how it is answered."""

    place: ClassVar[str | None] = "input_data."
    input_string: _Messages
    parameters: ScoreParameters = ScoreParameters()

    @model_validator(mode="after")
    def _ends_with_what_is_scored(self) -> Self:
        last = self.input_string[-1].role
        if self.parameters.score_last and (last != "assistant" or len(self.input_string) == 1):
            raise ValueError("score_last scores the last message, which must be the assistant's and follow another")
        return self


class ScoreBody(OpenBody):
    """A request to /score."""

    input_data: ScoreInput


class _ChatBody(OpenBody):
    messages: _Messages
    model: str = "phi3"
    temperature: float = Field(default=1.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int | None = Field(default=None, ge=1, alias="max_tokens")
    stop: StopStrings = []
    seed: int | None = None
    do_sample: ClassVar[bool] = True
    score_last: ClassVar[bool] = False


class ScoringRequest(NamedTuple):
    """A request of either kind; ``chat_model`` is what MLflow's chat calls the model, None in the wire contract."""

    messages: list[dict[str, str]]
    options: Any
    chat_model: str | None
    ignored: tuple[str, ...]


def parse(body: bytes) -> ScoringRequest:
    """Read a request of either kind. Raises RequestError (400 broken JSON, 422 what is not served)."""
    try:
        data = from_json(body)
    except ValueError as error:
        raise RequestError(400, "invalid_json", f"the body is not JSON: {error}") from error
    is_chat = isinstance(data, dict) and "messages" in data and "input_data" not in data
    model: type[Body] = _ChatBody if is_chat else ScoreBody
    ignored: list[str] = []
    try:
        request: Any = model.model_validate_json(body, context=ignored)
    except ValidationError as error:
        problem: Any = error.errors(include_url=False)[0]
        keys = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in problem["loc"])
        location = keys.lstrip(".") or "the body"
        raise RequestError(422, problem["type"], f"{location}: {_explain(model, problem)}", location) from error
    messages = request.messages if is_chat else request.input_data.input_string
    options, chat_model = (request, request.model) if is_chat else (request.input_data.parameters, None)
    return ScoringRequest([message.model_dump() for message in messages], options, chat_model, tuple(ignored))


def body_at(location: tuple[Any, ...], model: type[Body]) -> type[Body] | None:
    """Return the object whose keys stand at a location of a body, None where it is a message."""
    inner: dict[Any, type[Body]] = {("input_data",): ScoreInput, ("input_data", "parameters"): ScoreParameters}
    return ({(): model} | inner).get(location)


def _explain(model: type[Body], problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        return explain_unknown(str(problem["loc"][-1]), body_at(problem["loc"][:-1], model))
    reason: str = problem["msg"].removeprefix("Value error, ")
    if isinstance(problem["input"], dict | list):
        return reason
    value = json.dumps(problem["input"])
    return f"{reason}; it is {value if len(value) <= 80 else value[:80].rstrip() + '…'}"
