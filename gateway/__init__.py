"""The branch gateway: serves the models of a git repository's branches, split between users."""

__version__ = "0.1.0"
