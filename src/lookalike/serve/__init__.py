"""An HTTP service and a page for an index: who is this, enrol, correct, forget.

`lookalike.serve` is a function, defined in `lookalike.cli.serve_api`. It takes the name of this package
there, so import the modules with `from lookalike.serve.app import …`.
"""
