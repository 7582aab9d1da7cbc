"""agent-fleet hands coding tasks to AI coding agents and lets Git tell how the work is going."""
