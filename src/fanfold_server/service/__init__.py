"""Decisions: the use cases, over ports. No SQL, no sockets, no processes, no web framework."""
