"""Fault injection, hostile input and load: what Lookalike does when something goes wrong, measured.

`python -m trust` (with `tools` on the path; `make trust`) runs the rows and writes docs/trust.md. The tests in
tests/trust run the same functions with small amounts.
"""
