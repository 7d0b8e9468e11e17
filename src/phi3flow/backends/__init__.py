"""Where models are fine-tuned and endpoints run: this machine, or a service of Azure; one folder each.

``backend`` is what all of them can do, ``choice`` picks one by name. Verbs speak to that and never ask which one they
have.
"""
