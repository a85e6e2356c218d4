"""The command `gateway`, also as `python -m gateway`."""

from __future__ import annotations

import sys
from importlib import import_module

#: What runs beside a gateway, again and again or as long as it does, and so imports only its own.
_ALONE = {"healthcheck": "gateway.health_command", "monitor": "gateway.monitor_command"}


def main() -> None:
    """Run the command line."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in _ALONE:
        from gateway.command_context import FOR_ALL

        command = getattr(import_module(_ALONE[name]), name)
        command(sys.argv[2:], prog_name=f"gateway {name}", **FOR_ALL)
    from gateway.cli import main as all_commands

    all_commands(prog_name="gateway")


if __name__ == "__main__":
    main()
