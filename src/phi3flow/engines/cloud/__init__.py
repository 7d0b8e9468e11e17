"""Runs whose flow executes elsewhere: on a cluster of Azure Machine Learning, or in an AI Foundry project.

What comes back becomes a run folder like any other. Nothing here executes a line, or knows how one is scored.
"""
