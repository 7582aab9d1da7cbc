"""Agent CLIs, described: how one is called, and what its output means.

An adapter is a TOML table, not a class; a CLI whose output a parser here already reads needs no
Python. Everything is pure: nothing in here starts a process, reads the clock or the environment.
`render` makes an argument list, never a shell string. `parse` takes any bytes and never raises.
`judge` says whether an attempt succeeded. Imports core only.
"""

from agent_fleet.adapters.adapter import Adapter, Command, Graces, render
from agent_fleet.adapters.catalog import builtin, merge
from agent_fleet.adapters.judgement import judge
from agent_fleet.adapters.parsers import parse
from agent_fleet.adapters.report import Failure, Report

__all__ = [
    "Adapter",
    "Command",
    "Failure",
    "Graces",
    "Report",
    "builtin",
    "judge",
    "merge",
    "parse",
    "render",
]
