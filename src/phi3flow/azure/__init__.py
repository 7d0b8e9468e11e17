"""Azure: what a project needs there, what of it exists, and how it is made and deleted.

``settings`` names things, ``arm`` asks Azure Resource Manager, ``foundation`` makes what lasts, ``preflight`` says
beforehand what cannot work, ``workspace`` is what a workspace holds. It never starts anything that bills by the hour:
that is a backend's, which asks first.
"""
