"""`fleet demo`: the main job on real parts, in a folder of its own, from nothing to merged.

An orchestrator on SQLite, a Git repository, the local host and an http_pull agent are started as
processes of their own; this package only plays the people: who files tasks, reviews and merges,
and who trips over a power cord. `player` stands in for the model, where no other adapter is asked.
"""

from agent_fleet.demo.story import run

__all__ = ["run"]
