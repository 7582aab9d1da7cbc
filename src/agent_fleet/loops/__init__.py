"""Periodic duties, one file each: a `poll()` that does what is due and returns its next delay.

`running` drives them: together, each bounded, none able to end another. A wake-up only shortens a
delay; nothing relies on one.
"""
