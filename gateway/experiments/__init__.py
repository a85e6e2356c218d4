"""Experiments as pure data: what is measured, what it adds up to, what is said and done of it."""
