"""What is asked for, held against what the subscription allows, before anything is begun.

It only asks: nothing is made, changed or deleted here.
"""
