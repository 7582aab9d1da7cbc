"""The use cases: one method per verb, each a transaction, the lifecycle's word, and an event.

`Fleet` holds them by who asks: `tasks` for people and their programs, `claims` for whoever wants
work, `attempts` and `endings` for executors, `watch` for what is seen on forges and clocks,
`registry` for who takes part, `effects` for what the outbox wants done. No rule of the lifecycle is
repeated here.
"""

from agent_fleet.fleet.fleet import Fleet
from agent_fleet.fleet.rules import RepoRules, Rules

__all__ = ["Fleet", "RepoRules", "Rules"]
