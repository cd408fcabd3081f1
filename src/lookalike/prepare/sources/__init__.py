"""Public datasets: one module each, `table(raw) -> table`, and what they share."""
