"""Ways to divide a table: one file each, all of them called as `split(table) -> table`."""
