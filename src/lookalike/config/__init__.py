"""From `key=value` to checked values, and from those to objects. Nothing heavy loads with this package."""

from lookalike.config.building import build as build
from lookalike.config.composing import changed as changed
from lookalike.config.composing import compose as compose
from lookalike.config.composing import load as load

__all__ = ["build", "changed", "compose", "load"]
