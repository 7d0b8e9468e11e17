"""The commands: one module a verb, each with ``add_arguments`` and ``run``.

A verb reads flags, calls the room that does the work, and shows the result. It never computes, and never imports
another verb.
"""
