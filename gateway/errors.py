"""Every error of the gateway, in families by what its reader can do about it.

HTTP status codes do not live here: `web/errors.py` has the one table.
"""

from __future__ import annotations


class GatewayError(Exception):
    """Anything the gateway says on purpose. `where` names the place: a file, a field, a branch."""

    def __init__(self, message: str, *, where: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class ConfigError(GatewayError):
    """Fix the file: `mistakes` holds every line `path:line:column: field: what`, not the first."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class StateError(GatewayError):
    """Fix the machine: the state directory is in use, unwritable or of another gateway."""


class RequestError(GatewayError):
    """Fix the request: it cannot be answered by any branch as it stands."""


class BodyTooLarge(RequestError):
    """More bytes or rows than the limits allow."""


class UnreadableBody(RequestError):
    """Not UTF-8, not JSON, or not the envelope of this endpoint."""


class InvalidInstances(RequestError):
    """The branch's model cannot use these instances: width, names or values."""


class NotFound(RequestError):
    """No branch, or no view of one, has that name."""


class Unauthorised(RequestError):
    """Nothing in the request proves that its sender may ask this."""


class KeyNeeded(Unauthorised):
    """No API key came with the request, or none that is in force."""


class Forbidden(RequestError):
    """Its sender is known, or may be anybody, and may not do this. `who` is the name, if known."""

    who: str | None = None


class UnusableHeader(RequestError):
    """A header that the gateway acts upon says nothing that it can act upon."""


class BodyTooSlow(RequestError):
    """The body was not whole in time."""


class UnavailableError(GatewayError):
    """Retry later: nothing is wrong with the request. `retry_after` is in seconds."""

    def __init__(self, message: str, *, where: str | None = None, retry_after: int = 1) -> None:
        super().__init__(message, where=where)
        self.retry_after = retry_after


class TooMany(RequestError, UnavailableError):
    """More requests than one caller may send: fewer, and later."""


class NotReady(UnavailableError):
    """The branch has no loaded worker at this moment."""


class Overloaded(UnavailableError):
    """The branch's queue is full."""


class DeadlineExceeded(UnavailableError):
    """The answer did not come within the branch's `timeout`, or its caller's own deadline."""


class NeverTaken(DeadlineExceeded):
    """No worker of the branch was free for it in time: nothing was computed."""


class BranchError(GatewayError):
    """Look at the branch: what its commit holds does not work."""


class LoadError(BranchError):
    """The model or its code could not be started: the commit is quarantined."""


class ProbeError(BranchError):
    """The loaded model does not answer its golden or example rows as it must."""


class ModelError(BranchError):
    """The model raised on a request that looks well formed, or died while answering it."""


class ContentError(BranchError):
    """The commit lacks what is to be served, or holds what is refused: named, never loaded."""


class ContentAway(ContentError):
    """The content is not to be had, and may be soon without another commit: tried again."""


class RepositoryError(GatewayError):
    """The git remote: the families below say whether waiting helps."""


class RemoteUnavailable(RepositoryError):
    """Unreachable, too slow or nonsense: wait and try again."""


class StaleTip(RepositoryError):
    """The ref moved under a push: rebuild on the new tip and try again."""


class PushRefused(RepositoryError):
    """Refused for good (protected branch, hook, checked-out branch): needs a person."""


class MissingRef(RepositoryError):
    """The ref is not on the remote."""
