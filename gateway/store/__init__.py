"""What the monitor remembers: one interface, and what keeps it."""

from gateway.store.interface import Name, Outgoing, Publication, Push, Store

__all__ = ["Name", "Outgoing", "Publication", "Push", "Store"]
