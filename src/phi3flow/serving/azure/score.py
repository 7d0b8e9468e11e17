"""Answer for a fine-tuned Phi-3 in an Azure ML online endpoint: ``init`` loads the model, ``run`` answers a request.

Two kinds of body, told apart by their keys. The wire contract's, {"input_data": {"input_string": [message, …],
"parameters": {…}}}, gets {"output": "…"}; MLflow's chat, {"messages": [message, …], "temperature": …, "max_tokens": …},
gets a chat completion. What is refused gets its status and {"error": {"message": …}}, never a traceback.
Keys that are ignored are named in the header x-ignored-keys. Beside this file lie scoring_protocol.py and
model_files.py, which ``phi3flow serve`` imports too; nothing else of phi3flow is there.

One generation at a time, however many threads serve: two at once would each take twice as long and hold twice the
memory, and a batch of them, padded, would round differently and so change greedy answers. A deployment therefore has
max_concurrent_requests_per_instance 1 and WORKER_COUNT 1 (each worker loads the weights again), and
GUNICORN_CMD_ARGS="--threads 4": with one thread, the server's default, the liveness probe waits for the model.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
import time
import traceback
import uuid
from pathlib import Path
from typing import Any

import jinja2
import torch
import transformers
from azureml.contrib.services.aml_request import AMLRequest, rawhttp  # type: ignore[import-not-found]
from azureml.contrib.services.aml_response import AMLResponse  # type: ignore[import-not-found]

sys.path.append(str(Path(__file__).parent))  # where the container starts the server is the image's choice
from model_files import context_tokens, end_tokens, load_settings  # type: ignore[import-not-found]
from scoring_protocol import RequestError, ScoringRequest, ignored_header, parse  # type: ignore[import-not-found]

MAX_BODY_BYTES = 1 << 20
MAX_DISCARDED_BYTES = 16 << 20
"""A larger body is read up to here before it is refused: who still sends would see a reset and not the refusal."""
GREEDY_BELOW = 1e-5
"""Temperatures below this count as 0: logits divided by them overflow."""
ADAPTER = "adapter_config.json"
TOKENIZER = "tokenizer_config.json"


class ModelError(Exception):
    """AZUREML_MODEL_DIR does not hold one model that can be served."""


class Model:
    """A language model and its tokenizer, which answer one request at a time."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise ModelError("the tokenizer has no chat template (chat_template.jinja)")
        self._ends = sorted(end_tokens(network, tokenizer))
        # the model's own sampling would fill in what a request leaves out
        network.generation_config = transformers.GenerationConfig()
        self._network = network
        self._tokenizer = tokenizer
        self._context_tokens = context_tokens(network.config)
        self._lock = threading.Lock()

    def answer(self, request: ScoringRequest) -> dict[str, Any]:
        """Return the answer in the shape of the request's kind. Raises RequestError."""
        with self._lock, torch.inference_mode():
            prompt, start = self._encode(request)
            if len(prompt) >= self._context_tokens:
                figures = f"the prompt has {len(prompt)} tokens; this model reads {self._context_tokens}"
                message = f"{figures}, prompt and answer together: shorten the messages or the chat history"
                raise RequestError(422, "context_length_exceeded", message, "messages")
            if request.options.score_last:
                return self._score(request, prompt, start)
            return self._answer(request, prompt, self._generate(request.options, prompt))

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _encode(self, request: ScoringRequest) -> tuple[list[int], int]:
        """Return the prompt's tokens, and where those begin that ``score_last`` scores."""
        complete = request.options.score_last
        try:
            text = self._fill_in(request.messages, complete=complete)
            before = self._fill_in(request.messages[:-1], complete=False) if complete else ""
        except jinja2.TemplateError as error:
            raise RequestError(422, "chat_template", f"the chat template refuses: {error}", "messages") from error
        encoding = self._tokenizer(text, add_special_tokens=False)
        start = encoding.char_to_token(len(before)) if text.startswith(before) else None
        if complete and start is None:
            message = "the chat template writes no answer where its prompt ends: whose tokens are whose is not known"
            raise RequestError(422, "chat_template", message, "messages")
        return encoding["input_ids"], start or 0

    def _fill_in(self, messages: list[dict[str, str]], *, complete: bool) -> str:
        return str(self._tokenizer.apply_chat_template(messages, add_generation_prompt=not complete, tokenize=False))

    def _score(self, request: ScoringRequest, prompt: list[int], start: int) -> dict[str, Any]:
        """Return the last message with its log-likelihood in nats, for ground_truth_likelihood."""
        tokens = torch.tensor([prompt], device=self._network.device)
        logits = self._network(tokens, logits_to_keep=len(prompt) - start + 1).logits[0, :-1].float()
        picked = logits.gather(1, tokens[0, start:, None])[:, 0] - logits.logsumexp(dim=-1)
        log_likelihood = math.fsum(picked.tolist())
        return {"output": request.messages[-1]["content"], "log_likelihood": log_likelihood, "tokens": len(picked)}

    def _generate(self, options: Any, prompt: list[int]) -> list[int]:
        """Return the answer's tokens, the one that ended it included."""
        room = self._context_tokens - len(prompt)
        sampling: dict[str, Any] = {"do_sample": False}
        if options.do_sample and options.temperature >= GREEDY_BELOW:
            sampling = {"do_sample": True, "temperature": options.temperature, "top_p": options.top_p, "top_k": 0}
            _ = torch.seed() if options.seed is None else torch.manual_seed(options.seed % 2**64)

        def holds_stop(sequences: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
            text = self._decode(sequences[0, len(prompt) :].tolist()) if options.stop else ""
            return torch.tensor([any(stop in text for stop in options.stop)], device=sequences.device)

        tokens = torch.tensor([prompt], device=self._network.device)
        config = transformers.GenerationConfig(
            max_new_tokens=min(options.max_new_tokens or room, room),
            eos_token_id=self._ends or None,
            pad_token_id=self._ends[0] if self._ends else 0,
            **sampling,
        )
        mask, stops = torch.ones_like(tokens), transformers.StoppingCriteriaList([holds_stop])
        output = self._network.generate(tokens, attention_mask=mask, generation_config=config, stopping_criteria=stops)
        return list(output[0, len(prompt) :].tolist())

    def _answer(self, request: ScoringRequest, prompt: list[int], tokens: list[int]) -> dict[str, Any]:
        ended = tokens[-1] in self._ends
        text = self._decode(tokens[:-1] if ended else tokens)
        starts = [text.index(stop) for stop in request.options.stop if stop in text]
        text = text[: min(starts, default=len(text))]
        if request.chat_model is None:
            return {"output": text}
        message = {"role": "assistant", "content": text}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(tokens)}
        return {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": request.chat_model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop" if ended or starts else "length"}],
            "usage": usage | {"total_tokens": len(prompt) + len(tokens)},
        }


def load_model(root: Path) -> Model:
    """Load the one model in or below ``root``: an MLflow model, a transformers folder, or an adapter and its base.

    The weights are float32 on a CPU and of the type that they were saved in on a GPU. No code from the folder is run.
    """
    folder, bases = _find_model(root)
    is_adapter = (folder / ADAPTER).is_file()
    source = _find_base(folder, bases) if is_adapter else folder
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    loader: Any = transformers.AutoModelForCausalLM
    network, report = loader.from_pretrained(
        source,
        **load_settings(source, _config_folder(Path(source)) or source),
        dtype="auto" if device.type == "cuda" else torch.float32,
        trust_remote_code=False,
        output_loading_info=True,
    )
    if report["missing_keys"]:  # transformers would fill them with random numbers
        raise ModelError(f"{source} lacks weights: {', '.join(sorted(report['missing_keys'])[:3])} …")
    if is_adapter:
        from peft import PeftModel

        network = PeftModel.from_pretrained(network, folder).merge_and_unload()
    files = (folder / TOKENIZER, *sorted(root.rglob(TOKENIZER), key=lambda file: len(file.parts)))
    tokenizer_folder = next((file.parent for file in files if file.is_file()), source)
    tokenizer = transformers.AutoTokenizer.from_pretrained(
        tokenizer_folder, config=network.config, trust_remote_code=False
    )
    return Model(network.to(device).eval(), tokenizer)


def _find_model(root: Path) -> tuple[Path, list[Path]]:
    """Return the model nearest to ``root``, an adapter before a base beside it, and the models that may be its base."""
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    adapters = [path for path in folders if (path / ADAPTER).is_file()]
    bases = [path for path in folders if path not in adapters and _config_folder(path) and _weights_in(path)]
    ranked = sorted((len(path.parts), path in bases, path) for path in (*adapters, *bases))
    if not ranked:
        seen = ", ".join(sorted(str(path.relative_to(root)) for path in root.rglob("*"))[:20]) or "nothing"
        raise ModelError(f"{root} holds no model, neither config.json with *.safetensors nor {ADAPTER}, but {seen}")
    nearest = [str(path) for *rank, path in ranked if rank == list(ranked[0][:2])]
    if len(nearest) > 1:
        raise ModelError(f"{root} holds several models, {', '.join(nearest)}: register one of them alone")
    return ranked[0][2], sorted(bases, key=lambda path: len(path.parts))


def _weights_in(folder: Path) -> list[Path]:
    return [*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")]


def _config_folder(weights: Path) -> Path | None:
    """Return where config.json is: with the weights, or in MLflow's flavour hftransformersv2 in a folder beside."""
    return next((path for path in (weights, weights.parent / "config") if (path / "config.json").is_file()), None)


def _find_base(adapter: Path, bases: list[Path]) -> Path | str:
    """Return the adapter's base: the folder that it names, the model beside it, or a name on the hub."""
    name = json.loads((adapter / ADAPTER).read_bytes()).get("base_model_name_or_path") or ""
    named = [path for path in (Path(name), adapter / name) if name and (path / "config.json").is_file()]
    if named or bases:
        return (named + bases)[0]
    if name.count("/") == 1 and not name.startswith(("/", ".")):
        return str(name)
    raise ModelError(f"{adapter}: its base {name!r} is not here: register both together, or the merged model")


_model: Model | None = None


def init() -> None:
    """Load the model of the deployment; the server calls it once. Raises ModelError."""
    global _model
    root = os.environ.get("AZUREML_MODEL_DIR")
    if not root:
        raise ModelError("AZUREML_MODEL_DIR is not set: the deployment names no model")
    _model = load_model(Path(root))


@rawhttp  # type: ignore[untyped-decorator]
def run(request: AMLRequest) -> AMLResponse:
    """Answer one request; a failure's line goes into the log, its words, which may quote the request, do not."""
    try:
        if request.method != "POST":
            raise RequestError(405, "method_not_allowed", f"Method Not Allowed: {request.method} {request.path}")
        assert _model is not None
        scoring = parse(_read_body(request))
        return AMLResponse(_model.answer(scoring), 200, ignored_header(scoring.ignored), json_str=True)
    except RequestError as error:
        refusal = error
    except torch.OutOfMemoryError:
        refusal = RequestError(503, "out_of_memory", "no memory for a conversation this long: ask for fewer new tokens")
    except Exception as error:
        frames = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        logging.getLogger("azmlinfsrv.score").error("%s at %s", type(error).__name__, " > ".join(frames))
        refusal = RequestError(500, "internal_error", "the model failed on this request; the log says where")
    return AMLResponse(refusal.body, refusal.status, {"Allow": "POST"} if refusal.status == 405 else {}, json_str=True)


def _read_body(request: AMLRequest) -> bytes:
    """Read the body, but not past the limits, whatever Content-Length promises."""
    body, promised = bytearray(), request.content_length or 0
    while max(promised, len(body)) <= MAX_DISCARDED_BYTES and (chunk := request.stream.read(1 << 16)):
        body += chunk
    if max(promised, len(body)) > MAX_BODY_BYTES:
        raise RequestError(413, "too_large", f"the body is larger than {MAX_BODY_BYTES} bytes")
    return bytes(body)
