"""How bytes get to disk whole: files atomically, JSON Lines with errors that name file and line, tables.

It never knows what the bytes mean.
"""
