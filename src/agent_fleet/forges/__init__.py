"""Where branches are pushed and merged: read a forge, act on it, and hold no opinion.

The law of this package:

- It imports `core` and nothing else of the program.
- It reads and acts; it decides nothing about a task. What it read goes into a `ForgeView`, and
  `core.lifecycle.observe` decides from the difference.
- Credentials never appear in an argument list, an address, an error or a log.
- What a remote says is data: its names, messages and contents are bounded and never executed.
"""
