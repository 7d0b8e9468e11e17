"""Processes that execute attempts: on this machine or on a Ray cluster, started, replaced and ended with a run.

They are told what to execute and say what became of it. They never decide what is tried again, or when.
"""
