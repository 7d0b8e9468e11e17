"""Azure: what a project needs there, what of it exists, and how it is made and deleted."""
