"""What an Azure Machine Learning workspace holds: jobs, models, assets, environments, endpoints, connections.

Reads and writes one thing at a time, and tries again what may be tried again; it never decides what is to be made.
"""
