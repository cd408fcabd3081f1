"""Config: from `key=value` to checked values, and from those to objects. Imports nothing heavy."""

from lookalike.config.building import build as build
from lookalike.config.composing import apply_changes as apply_changes
from lookalike.config.composing import compose as compose
from lookalike.config.composing import load as load

__all__ = ["apply_changes", "build", "compose", "load"]
