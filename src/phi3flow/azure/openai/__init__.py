"""Azure OpenAI: a resource and its deployments in Azure Resource Manager, files, jobs and models behind its own API."""
