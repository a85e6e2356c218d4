"""GET /experiment: what the monitor last said of the experiment, as it said it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from gateway.errors import NotFound, StateError
from gateway.experiments.document import EXPERIMENT_FILE, ExperimentReadout
from gateway.routing import Routing
from gateway.timestamps import rfc3339
from gateway.web.errors import json_response

log = logging.getLogger(__name__)

#: Seconds between two looks at the file, however many ask.
_BETWEEN_LOOKS = 1.0
_NOT_YET = "the monitor has not written a read-out yet"


class ExperimentPage:
    """The file that the monitor writes, read off the event loop and only when it changed."""

    def __init__(
        self,
        routing: Routing,
        trouble: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`trouble` is why the monitor's experiments stand still now, if they do."""
        self._routing = routing
        self._stands_still = trouble
        self._path = routing.config.state_dir / EXPERIMENT_FILE
        self._clock = clock
        self._looking = asyncio.Lock()
        self._next_look = 0.0
        self._seen: tuple[int, int, int] | None = None
        self._body: bytes | None = None
        self._document: ExperimentReadout | None = None
        #: Why the file, or what it says, cannot be read.
        self._trouble: str | None = None

    async def look(self) -> ExperimentReadout | None:
        """The document as of a second ago at most; None if there is none that can be read."""
        async with self._looking:
            if self._clock() >= self._next_look:
                await asyncio.to_thread(self._read)
                self._next_look = self._clock() + _BETWEEN_LOOKS
        return self._document

    async def answer(self, request: Request) -> Response:
        document = await self.look()
        candidate = request.query_params.get("candidate")
        if self._body is None and self._trouble is not None:
            raise StateError(self._trouble, where=str(self._path))
        trouble = self._stands_still()
        if candidate is None and self._body is not None and (trouble is None or document is None):
            return json_response(self._body)
        if self._body is not None and document is None:
            raise StateError(self._trouble or "", where=str(self._path))
        found = document or self._nothing()
        if trouble is not None:
            found = msgspec.structs.replace(found, trouble=trouble)
        return json_response(
            msgspec.json.encode(found if candidate is None else self._about(found, candidate))
        )

    def _about(self, document: ExperimentReadout, candidate: str) -> ExperimentReadout:
        found = document.about(candidate)
        if found.contrasts:
            return found
        config = self._routing.config
        compared = {one.candidate for one in document.contrasts}
        candidates = sorted({*config.branches, *compared} - {config.baseline})
        if candidate not in candidates:
            there = f"there are: {', '.join(candidates)}" if candidates else "there are none"
            raise NotFound(
                f"{_no_candidate(candidate, config.baseline)}; {there}", where="?candidate"
            )
        nothing = f"nothing was measured of {candidate} yet"
        return msgspec.structs.replace(found, warnings=(*found.warnings, nothing))

    def _nothing(self) -> ExperimentReadout:
        """The same shape where the monitor has said nothing yet."""
        config = self._routing.config
        return ExperimentReadout(
            written=rfc3339(time.time()),
            baseline=str(config.baseline),
            salt=config.salt,
            epoch=str(self._routing.epoch),
            trouble=_NOT_YET,
        )

    def _read(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            body = self._path.read_bytes()
        except FileNotFoundError:
            self._seen = self._body = self._document = self._trouble = None
            return
        except OSError as error:
            self._seen = self._body = self._document = None
            self._trouble = f"cannot be read: {error.strerror}"
            return
        self._seen, self._body, self._document, self._trouble = seen, body, None, None
        try:
            self._document = msgspec.json.decode(body, type=ExperimentReadout)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._trouble = f"is no read-out of this version: {error}"
            log.warning("%s %s", self._path, self._trouble)


def _no_candidate(name: str, baseline: str) -> str:
    """Why there is no read-out of a name."""
    if name == baseline:
        return f"{name!r} is the baseline, and not compared with itself"
    return f"no candidate {name!r}"
