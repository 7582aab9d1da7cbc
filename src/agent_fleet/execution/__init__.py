"""Commands on a machine: short ones, detached runs, workspaces, and whole attempts.

A `Machine` is the only seam: whatever happens on a host happens through its one method, by POSIX
`sh` scripts sent on stdin, so that the same code serves the local machine, SSH and the http_pull
agent. Imports adapters, core and the clock, and nothing else of agent-fleet.
"""
