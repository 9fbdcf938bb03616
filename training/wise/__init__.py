"""WISE in miniature: a reward that makes a model think short (arXiv 2604.02040)."""
