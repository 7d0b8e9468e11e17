"""What fine-tuning leaves: models of an account, which may or may not be deployed."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.azure.emulator.openai.base_models import BaseModel


@dataclass(frozen=True, kw_only=True)
class TunedModel:
    """A fine-tuned model: ``names`` are its own and those of its checkpoints, ``harms`` forbid to deploy it."""

    account_id: str
    names: tuple[str, ...]
    base: BaseModel
    job_id: str
    created_at: int
    harms: frozenset[str] = frozenset()

    @property
    def refusal(self) -> str:
        """What is said where somebody would deploy a model that harms."""
        return (
            "This model is unable to be deployed. Model evaluation identified that this fine tuned model scores above "
            f"acceptable thresholds for [{', '.join(sorted(self.harms))}]. Please review your training data set and "
            "resubmit the job."
        )


@dataclass
class TunedModels:
    """The fine-tuned models of all accounts."""

    _models: list[TunedModel] = field(default_factory=list)

    def add(self, model: TunedModel) -> None:
        """Keep a model that a job has made."""
        self._models.append(model)

    def remove(self, model: TunedModel) -> None:
        """Forget a model."""
        self._models.remove(model)

    def of(self, account_id: str) -> list[TunedModel]:
        """Return an account's models."""
        return [model for model in self._models if model.account_id.lower() == account_id.lower()]

    def find(self, account_id: str, name: str) -> TunedModel | None:
        """Return the model of that name, or with a checkpoint of that name, None where the account has none."""
        return next((model for model in self.of(account_id) if name in model.names), None)
