"""Two scored runs, line by line: paired, each metric's difference inferred, and what that shows.

The statistics are ``stats``'; here they meet runs. It reads run folders and never writes one.
"""
