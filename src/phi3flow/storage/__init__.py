"""How bytes get to disk whole, and the user's data from it, in every form, with errors that name file and line.

It never knows what the bytes mean.
"""
