"""The domain, pure: no I/O, no wall clock; nothing third-party but msgspec, markdown-it, jinja2.

Nothing in here imports another package of agent-fleet; everything else may import this one.
"""
