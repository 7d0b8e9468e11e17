"""Connections by name: from connections/*.yml, promptflow's local store, or the Azure workspace, in this order.

A secret leaves this room only in promptflow's dict form, for an executor: never to a file, a log or a message.
"""
