"""The console: one page, served by the gateway itself, that shows how it stands. Read-only."""
