"""HTTP: routes, who may call them, and how errors are told. No rules in handlers.

A handler reads its arguments, calls one use case and returns its answer.
"""
