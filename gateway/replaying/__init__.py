"""Predictions that are in the repository, computed again: by what answered them, or by another."""
