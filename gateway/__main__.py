"""The command `gateway`, also as `python -m gateway`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; of `healthcheck`, which runs all the time, only what it needs."""
    if sys.argv[1:2] == ["healthcheck"]:
        from gateway.health_command import healthcheck

        healthcheck(sys.argv[2:], prog_name="gateway healthcheck")
    from gateway.cli import main as all_commands

    all_commands()


if __name__ == "__main__":
    main()
