"""Exact search, for programs that search vectors themselves."""

from lookalike.ranking.exact import ExactSearch as Exact

__all__ = ["Exact"]
