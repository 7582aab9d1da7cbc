"""The benchmarks: one file for each entry, which measures and compares within one run.

The law: nothing is asserted here; what was seen is reported, with what it was compared to.
docs/benchmarks.md says what each entry measures, and how.
"""
