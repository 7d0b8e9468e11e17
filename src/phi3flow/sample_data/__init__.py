"""The sample data: support dialogues about a made-up product range, and general chat for a base model.

Written by a seeded generator, so that nobody's texts are in it and anyone can make it again.
"""

from phi3flow.sample_data.general import general_corpus
from phi3flow.sample_data.support import support_corpus

__all__ = ["general_corpus", "support_corpus"]
