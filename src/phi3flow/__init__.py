"""phi3flow: a Prompt flow package with an evaluation harness."""

__version__ = "0.1.0"
