"""Models as a service in an AI Foundry project: fine-tunes and endpoints on machines of Azure's own."""

BACKEND = "serverless"
"""What ``--backend`` calls it."""
