"""What a fine-tuning job measures as it trains: losses that fall, the same for the same seed."""

from __future__ import annotations

import csv
import io
import math
from typing import Any

from tests.azure.emulator.openai.job_rules import AUTO, JobSettings
from tests.azure.emulator.openai.training_data import count_tokens, read_examples

_LAST_KEPT = 3
_USUAL_EPOCHS = 3


class Measures:
    """The steps of a job, an epoch's after another, and what each of them showed."""

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings
        examples = read_examples(settings.training_file.content)
        values = settings.hyperparameters
        self.n_epochs = _USUAL_EPOCHS if values["n_epochs"] == AUTO else int(values["n_epochs"])
        batch = 1 if values["batch_size"] == AUTO else int(values["batch_size"])
        self.steps_per_epoch = math.ceil(len(examples) / batch)
        self.n_steps = self.steps_per_epoch * self.n_epochs
        self.tokens = sum(map(count_tokens, examples)) * self.n_epochs

    def loss(self, step: int) -> float:
        """Return the loss of a step."""
        wave = math.sin(step + self._settings.seed % 7) / 50
        return round(0.4 + 1.6 * math.exp(-3 * step / self.n_steps) + wave, 4)

    def accuracy(self, step: int) -> float:
        """Return the share of tokens that were right in a step."""
        return round(1 / (1 + self.loss(step) / 2), 4)

    @property
    def checkpoints(self) -> list[int]:
        """The steps whose weights are kept: the ends of the last epochs."""
        ends = [epoch * self.steps_per_epoch for epoch in range(1, self.n_epochs + 1)]
        return ends[-_LAST_KEPT:]

    def metrics(self, step: int) -> dict[str, float]:
        """Return a checkpoint's metrics."""
        loss, accuracy = self.loss(step), self.accuracy(step)
        metrics = {"step": step, "train_loss": loss, "train_mean_token_accuracy": accuracy}
        if self._settings.validation_file:
            for name in ("valid", "full_valid"):
                metrics |= {f"{name}_loss": loss + 0.05, f"{name}_mean_token_accuracy": accuracy - 0.02}
        return metrics

    def results(self, spelling: str) -> bytes:
        """Return results.csv; where nothing was evaluated its cells are blank."""
        names = ("valid_loss", f"{spelling}mean_token_accuracy", "full_valid_loss", "full_valid_mean_token_accuracy")
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["step", "train_loss", "train_mean_token_accuracy", *names])
        for step in range(1, self.n_steps + 1):
            writer.writerow([step, self.loss(step), self.accuracy(step), *self._evaluated(step)])
        return text.getvalue().encode()

    def _evaluated(self, step: int) -> list[Any]:
        if not self._settings.validation_file:
            return [""] * 4
        values = [round(self.loss(step) + 0.05, 4), round(self.accuracy(step) - 0.02, 4)]
        full = values if step % self.steps_per_epoch == 0 else ["", ""]
        return [*(values if step % 2 == 0 or step == self.n_steps else ["", ""]), *full]
