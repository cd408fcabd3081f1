"""Which gallery rows are ranked for which queries: exact, with candidates found in low precision."""
