"""What may be done to vectors or rankings between embedding and judging: PCA, expansion, re-ranking."""
