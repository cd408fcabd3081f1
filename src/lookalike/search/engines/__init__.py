"""Engines that store vectors and search them, one file each behind a common protocol."""
