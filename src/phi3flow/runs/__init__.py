"""The run folder: a promptflow run record with our manifest, results and scores beside it.

``folder`` reads, ``writer`` writes, ``promptflow_record`` makes it readable for ``pf``, ``promptflow_runs`` reads what
``pf`` made. A line that is on disk is never lost, and never written twice as completed.
"""
