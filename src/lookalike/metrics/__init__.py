"""Metrics: plain functions of arrays, one value a query where there are queries."""
