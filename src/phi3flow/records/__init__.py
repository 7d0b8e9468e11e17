"""What is written to disk, as types: frozen, versioned, and without unknown keys.

Records hold values and refuse wrong ones. They never read or write a file, and never compute.
"""
