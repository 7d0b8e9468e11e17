"""The processes that share a training, one a GPU: how many there are, which of them this is, what they tell each other.

A launcher such as torchrun, or a job in Azure Machine Learning, starts them with RANK, WORLD_SIZE and LOCAL_RANK in
the environment. The first one writes the files and tells what happens; without a launcher it is the only one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

LONGEST_WAIT = timedelta(minutes=30)
"""How long one waits for another, which may load weights or save them meanwhile."""

T = TypeVar("T")


def count() -> int:
    """Return how many processes share the training."""
    return int(os.environ.get("WORLD_SIZE", 1))


def rank() -> int:
    """Return this process's number, from 0 on."""
    return int(os.environ.get("RANK", 0))


def is_first() -> bool:
    """Tell whether this is the process that writes and reports."""
    return rank() == 0


@contextmanager
def joined() -> Iterator[None]:
    """Connect the processes inside the block, by NCCL between GPUs, else by gloo; none leaves it before the others.

    A block that fails is left at once: the launcher ends the other processes.
    """
    if count() == 1:
        yield
        return
    import torch
    from torch import distributed

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=LONGEST_WAIT)
    yield
    distributed.barrier()
    distributed.destroy_process_group()


def from_first(decide: Callable[[], T]) -> T:
    """Let the first process decide, and return its decision in every process."""
    if count() == 1:
        return decide()
    from torch import distributed

    decision = [decide() if is_first() else None]
    distributed.broadcast_object_list(decision)
    return decision[0]  # type: ignore[return-value]  # what was broadcast is the first's


def sum_over_all(numbers: list[float], device: torch.device) -> list[float]:
    """Return the sums of the processes' numbers."""
    if count() == 1:
        return numbers
    import torch
    from torch import distributed

    sums = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.all_reduce(sums)
    return [float(total) for total in sums]


def copy_from_first(tensors: Iterable[torch.Tensor]) -> None:
    """Give the tensors of every process the first's values."""
    if count() == 1:
        return
    from torch import distributed

    for tensor in tensors:
        distributed.broadcast(tensor.detach(), 0)
