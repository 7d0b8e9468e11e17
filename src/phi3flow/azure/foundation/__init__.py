"""What lasts in a subscription: groups, workspaces, identities, clusters; planned, made, looked up, deleted.

Everything is idempotent, and nothing is deleted that has no tag of ours.
"""
