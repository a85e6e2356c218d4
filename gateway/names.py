"""The names everything else speaks in: valid by construction, plain strings at run time.

Each type is a subclass of `str`, so it serialises, compares and hashes like one; building it
checks it. Nothing here reads a clock or draws a random number.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Self

#: Units fall into these by the first byte of their hash, the same in every epoch.
BUCKETS = 256
_HEX = frozenset("0123456789abcdef")
_REF_FORBIDDEN = re.compile(r"[\x00-\x20\x7f~^:?*\[\\\ud800-\udfff]|\.\.|@\{|//")


class InvalidName(ValueError):
    """A text that is not the name it was meant to be; the message says what would be."""


def _hex(kind: str, text: str, lengths: tuple[int, ...]) -> str:
    if len(text) not in lengths or not _HEX.issuperset(text):
        wanted = " or ".join(str(length) for length in lengths)
        raise InvalidName(f"a {kind} is {wanted} lower-case hex digits. Given: {text!r}")
    return text


class Branch(str):
    """A git branch, without `refs/heads/`, by the rules of `git check-ref-format --branch`."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        parts = text.split("/")
        if (
            not text
            or len(text.encode(errors="surrogatepass")) > 200
            or text in ("@", "HEAD")
            or text.startswith("-")
            or text.endswith(".")
            or _REF_FORBIDDEN.search(text)
            or any(not part or part[0] == "." or part.endswith(".lock") for part in parts)
        ):
            raise InvalidName(f"not a git branch name: {text!r}")
        return super().__new__(cls, text)

    @property
    def folder(self) -> str:
        """The branch as one path component: git allows no `~` in a name, so this is reversible."""
        return self.replace("/", "~")

    @classmethod
    def of_folder(cls, folder: str) -> Self:
        return cls(folder.replace("~", "/"))

    @property
    def ref(self) -> str:
        return f"refs/heads/{self}"


class Commit(str):
    """A full commit id (40 hex digits, or 64 in a SHA-256 repository)."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, _hex("commit", text, (40, 64)))


class Fingerprint(str):
    """32 hex digits over the tree ids of what a branch serves: equal content, equal fingerprint."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, _hex("fingerprint", text, (32,)))


class Epoch(str):
    """12 hex digits over salt, effective weights and the fingerprints of the arms."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, _hex("epoch", text, (12,)))


class Unit(str):
    """16 hex digits of keyed BLAKE2b over a user's id; its first byte is the unit's bucket."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        return super().__new__(cls, _hex("unit", text, (16,)))

    @classmethod
    def keyed(cls, raw: str, key: bytes) -> Self:
        """The unit of a raw user id; `key` is 1 to 64 bytes."""
        digest = blake2b(raw.encode(), key=key, digest_size=8).hexdigest()
        return super().__new__(cls, digest)

    @property
    def bucket(self) -> int:
        """The unit's index among `BUCKETS`."""
        return int(self[:2], 16)


class RequestId(str):
    """A UUIDv7 (RFC 9562 §5.7) made by the gateway: it sorts by time."""

    __slots__ = ()

    _FORM = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

    def __new__(cls, text: str) -> Self:
        if cls._FORM.fullmatch(text) is None:
            raise InvalidName(f"a request id is a lower-case UUIDv7. Given: {text!r}")
        return super().__new__(cls, text)

    @classmethod
    def build(cls, milliseconds: int, randomness: int) -> Self:
        """The id of Unix time `milliseconds` and 74 random bits."""
        high = (milliseconds & 0xFFFFFFFFFFFF) << 16 | 0x7000 | (randomness >> 62 & 0xFFF)
        low = 1 << 63 | randomness & 0x3FFFFFFFFFFFFFFF
        text = f"{high:016x}{low:016x}"
        return super().__new__(
            cls, f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
        )

    @property
    def milliseconds(self) -> int:
        """When it was made, Unix time in milliseconds."""
        return int(self[:8] + self[9:13], 16)
