"""Azure Machine Learning as a backend: fine-tunes as jobs of a workspace, models in its registry, online endpoints."""

from phi3flow.backends.azureml.backend import BACKEND, AzureMLBackend, PlannedJob, output_of
from phi3flow.backends.azureml.fine_tuning import CatalogFineTune
from phi3flow.backends.azureml.script_recipe import ScriptFineTune

__all__ = ["BACKEND", "AzureMLBackend", "CatalogFineTune", "PlannedJob", "ScriptFineTune", "output_of"]
