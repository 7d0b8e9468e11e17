"""MLflow: fine-tunes and runs as its runs.

The one importer of mlflow but for the registry of models. It logs what others have measured, and never measures.
"""
