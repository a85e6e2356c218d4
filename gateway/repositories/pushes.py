"""What became of a push, from git's words: the ref had moved, it is not allowed, or unknown."""

from __future__ import annotations

from gateway.errors import PushRefused, RemoteUnavailable, StaleTip
from gateway.repositories.gitprocess import Done, GitProcess

_STALE = (
    "stale info",
    "fetch first",
    "non-fast-forward",
    "failed to update ref",
    "cannot lock ref",
    "incorrect old value",
    "reference already exists",
)
_REFUSED = (
    "hook declined",
    "currently checked out",
    "deny updating",
    "protected branch",
    "permission",
    "denied",
    "prohibited",
    "not permitted",
    "read-only",
    "error: 403",
)


def push_error(
    done: Done, process: GitProcess, ref: str
) -> StaleTip | PushRefused | RemoteUnavailable:
    """The error of a failed `git push --porcelain` of one ref."""
    lines = done.output.decode(errors="replace").splitlines()
    reasons = [line.split("\t", 2)[-1] for line in lines if line.startswith("!")]
    reason = process.hide("; ".join(reasons))
    message = f"push of {ref}: {' — '.join(part for part in (reason, done.words) if part)}"
    # Only the status line of the ref tells stale from refused: a hook may print anything.
    verdict = (reason or done.words).lower()
    family: type[StaleTip | PushRefused | RemoteUnavailable] = RemoteUnavailable
    if any(words in verdict for words in _STALE):
        family = StaleTip
    elif any(words in f"{verdict} {done.words.lower()}" for words in _REFUSED):
        # A key that ssh's server does not take says nothing about the branch.
        unknown = not reason and "permission denied (" in verdict
        family = RemoteUnavailable if unknown else PushRefused
    return family(process.advised(message), where=process.address.shown)
