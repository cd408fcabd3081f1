"""From raw files to a checked dataset table: a module for each kind of source, splits, a check of files."""
