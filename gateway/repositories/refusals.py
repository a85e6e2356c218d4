"""What is never served, from whatever kind of repository: each check gives a reason, or none.

Pure: works on paths and sizes; `pointers` knows files by their bytes. What to do about it in a
folder or in a commit is said by those who found it there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gateway.errors import ContentError

_MOST_SAID = 5


def refuse(reasons: Sequence[str], where: str) -> None:
    """ContentError with all the reasons, if there are any."""
    if reasons:
        more = len(reasons) - _MOST_SAID
        said = [*reasons[:_MOST_SAID], *([f"and {more} more"] if more > 0 else [])]
        raise ContentError("; ".join(said), where=where)


def lonely_dvc_pointer(path: str, paths: Iterable[str], cure: str) -> str | None:
    """The reason against a DVC pointer whose content is not among `paths`; `cure` is said of it."""
    if not path.endswith(".dvc") or path.rpartition("/")[2].startswith("."):
        return None
    content = path.removesuffix(".dvc")
    if any(other == content or other.startswith(f"{content}/") for other in paths):
        return None
    return f"{path} is a DVC pointer and {content} is not in the branch: {cure}"


def too_large(sizes: Mapping[str, int], most_bytes: int) -> str | None:
    """The reason against more bytes than may be served; it names the largest file."""
    total = sum(sizes.values())
    if total <= most_bytes:
        return None
    largest = max(sizes, key=lambda path: sizes[path])
    return (
        f"{total} bytes are to be served and at most {most_bytes} may be (limits.snapshot_bytes of"
        f" gateway.yaml): make it smaller, or raise the limit; the largest is {largest} with"
        f" {sizes[largest]}"
    )
