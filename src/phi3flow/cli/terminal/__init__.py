"""What a person sees while a verb works, on standard error, and how a result is printed on standard output.

It is told what to show, and never looks anything up.
"""
