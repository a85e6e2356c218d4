"""Whether a replica may join the others: all of them hash users by one key.

Only asked at the start, where a person sees the answer. A Redis that is away refuses nobody.
"""

from __future__ import annotations

import logging
from threading import Thread

from gateway.errors import StateError
from gateway.shared.door import Door, SharedAway
from gateway.shared.place import RedisSettings

log = logging.getLogger(__name__)

#: Seconds that a start waits for the answer: names may take longer to resolve than any call.
PATIENCE = 2.0


def join(settings: RedisSettings) -> None:
    """StateError if the others have another unit key."""
    agreed: list[str] = []

    def ask() -> None:
        with Door(settings) as door:
            try:
                agreed.append(door.agree_on_key(settings.key))
            except SharedAway as error:
                log.warning("the other replicas are not asked for their unit key: %s", error)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE)
    if asking.is_alive():
        log.warning("the other replicas are not asked for their unit key: redis does not answer")
    elif agreed and agreed[0] != settings.key:
        raise StateError(
            f"has the id {settings.key}, and that of the other replicas {agreed[0]}: the same user"
            " would be two. Give all of them the same key; to change it, stop all and delete"
            f" {settings.prefix}:key from Redis",
            where="the unit key",
        )
