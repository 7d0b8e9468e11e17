"""The sample data: support dialogues about a made-up product range, and general chat for a base model.

Written by a seeded generator, so that nobody's texts are in it and anyone can make it again. It never draws from
a clock or a network: the same seed gives the same bytes.
"""

from phi3flow.datasets.card import DataCard
from phi3flow.datasets.preparation import Output, write_dataset
from phi3flow.sample_data.general import general_corpus
from phi3flow.sample_data.support import support_corpus

GENERATOR_VERSION = "3"
"""Raised whenever the generator writes other texts than before."""

CORPORA = {"support": support_corpus, "general": general_corpus}

__all__ = ["CORPORA", "GENERATOR_VERSION", "general_corpus", "support_corpus", "write_sample"]


def write_sample(output: Output, *, seed: int = 0, corpus: str = "support") -> DataCard:
    """Write one of the CORPORA as ``prepare-data`` writes any dataset; the same seed gives the same bytes."""
    source = {"generator": "phi3flow prepare-data --sample", "corpus": corpus, "licence": "MIT"}
    return write_dataset(CORPORA[corpus](seed), output=output, source=source, seed=seed)
