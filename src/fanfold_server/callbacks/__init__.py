"""Calling other servers: the only place from which this one opens connections to the network."""
