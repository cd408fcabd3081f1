"""Fault injection, hostile input and load: what Lookalike does when something goes wrong, measured.

`python -m trust`, with `tools` on the path, runs the rows and writes docs/trust.md, as `make trust` does. The
tests in tests/trust run the same functions with small amounts.
"""
