"""Value accuracy of a model folder on evaluation lines, as the flow would ask and answer_match would score them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from phi3flow.storage.jsonl import read_rows
from tests.support.flows.answer_match import text

BATCH = 64


def value_accuracy(model: Path, lines: Path, *, system: str | None) -> float:
    """Return the share of the lines with values whose greedy answer holds every one of them."""
    rows = [row for _, row in read_rows(lines) if row["values"]]
    answers = greedy_answers(model, [prompt(row, system) for row in rows])
    return sum(
        all(text.holds_value(answer, value) for value in row["values"])
        for answer, row in zip(answers, rows, strict=True)
    ) / len(rows)


def prompt(row: dict[str, Any], system: str | None) -> list[dict[str, str]]:
    """Return the messages that the chat flow sends for a line."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in row["chat_history"]:
        messages += [
            {"role": "user", "content": turn["inputs"]["question"]},
            {"role": "assistant", "content": turn["outputs"]["answer"]},
        ]
    return [*messages, {"role": "user", "content": row["question"]}]


def greedy_answers(folder: Path, prompts: list[list[dict[str, str]]]) -> list[str]:
    """Answer every prompt at temperature 0, in batches."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder)
    answers: list[str] = []
    for start in range(0, len(prompts), BATCH):
        inputs = tokenizer.apply_chat_template(
            prompts[start : start + BATCH],
            add_generation_prompt=True,
            padding=True,
            return_dict=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=128, do_sample=False)
        answers += tokenizer.batch_decode(tokens[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return answers
