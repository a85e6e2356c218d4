"""The audit: one line of the log, by a logger of its own, for each act of an operator.

Who it was is a key's name, `anonymous`, or `local` for whoever may write on the machine itself.
"""

from __future__ import annotations

import logging

_log = logging.getLogger("gateway.audit")


def audit(
    what: str, *, who: str, address: str, result: str, branch: str | None = None, say: str = ""
) -> None:
    """`what` was done by `who` from `address`, and what came of it; `say` are further words."""
    fields = {"who": who, "what": what, "address": address, "result": result}
    if branch is not None:
        fields["branch"] = branch
    level = logging.WARNING if result in ("refused", "failed") else logging.INFO
    text = f"{what} by {who} from {address}: {result}"
    _log.log(level, "%s%s", text, f": {say}" if say else "", extra=fields)
