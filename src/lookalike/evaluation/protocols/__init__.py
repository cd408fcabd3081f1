"""Protocols: who looks for whom, and what is ignored. Numbers under two of them must not be compared."""
