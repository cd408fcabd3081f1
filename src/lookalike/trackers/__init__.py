"""Experiment trackers: one file each. None is used by default."""
