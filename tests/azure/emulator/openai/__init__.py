"""Azure OpenAI as emulated: accounts and deployments in the resource manager; files, jobs and chat on their own hosts.

It holds what the documents of 2026 say: which models are retired, for whom they are still trained, and what the service
really answers where that differs from OpenAI's. What no document tells is marked as a guess where it stands.
"""
