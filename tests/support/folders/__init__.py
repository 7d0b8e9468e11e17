"""Folders on disk as phi3flow or ``pf`` makes them: runs, models, data, workspaces."""
