"""Servers on 127.0.0.1 that answer, or fail, as a test tells them to."""
