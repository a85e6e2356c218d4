"""What a gateway's logs say that they should not: defects, which nobody may have noticed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable


def defects(lines: Iterable[str], monitors_killed: int) -> list[str]:
    """Tracebacks of the gateway's own code, and what was printed past its log.

    What befalls a branch is said without a traceback of ours. The death of a killed monitor is the
    one that is expected.
    """
    found: Counter[str] = Counter()
    for line in lines:
        try:
            record = json.loads(line)
            said, keeper = record["message"], record.get("keeper")
        except (ValueError, KeyError, TypeError):
            if line.strip():
                found[f"printed: {line.strip()[:200]}"] += 1
            continue
        if keeper == "monitor" and monitors_killed:
            monitors_killed -= 1
        elif "traceback" in record or record["level"] == "critical":
            last = str(record.get("traceback", "")).strip().rpartition("\n")[2]
            found[f"{record['logger']}: {said} {last}".strip()[:300]] += 1
    return [f"the gateway's log, {count} times: {said}" for said, count in found.items()]
