"""The folder that a command works in: its paths, its environment and .env, the state that verbs leave for each other.

It never holds a secret longer than it takes to hand it over, and never writes one.
"""
