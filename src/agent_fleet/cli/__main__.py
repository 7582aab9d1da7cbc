"""`python -m agent_fleet.cli`."""

from agent_fleet.cli import main

main()
