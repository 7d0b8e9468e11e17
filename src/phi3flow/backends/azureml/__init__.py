"""Azure Machine Learning as a backend: fine-tunes as jobs of a workspace, models in its registry, online endpoints."""

BACKEND = "azureml"
"""What ``--backend`` calls it."""
