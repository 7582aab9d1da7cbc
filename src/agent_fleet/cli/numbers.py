"""Whole numbers, taken as they are given: cyclopts by itself takes 1.5 for 2, another task."""

from collections.abc import Sequence

from cyclopts import Token


def whole(_kind: object, given: Sequence[Token]) -> int:
    """A converter for a parameter. Raises ValueError, which cyclopts tells with the flag."""
    try:
        return int(given[0].value)
    except ValueError:
        # In cyclopts' own words; before a flag's it puts the flag, and an argument is a task.
        name = "" if given[0].keyword else "Invalid value for TASK: "
        raise ValueError(f'{name}unable to convert "{given[0].value}" into int.') from None
