"""What the monitor remembers: one interface, and what keeps it."""

from gateway.store.interface import Name, Publication, Push, Store

__all__ = ["Name", "Publication", "Push", "Store"]
