"""Azure OpenAI as a backend: fine-tunes by its API, deployments by Azure Resource Manager."""

BACKEND = "azure-openai"
"""What ``--backend`` calls it."""
