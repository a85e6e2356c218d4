"""The body of POST /predict: decoded as far as rows can be counted, never into features."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.config import LimitsConfig, UnitSource
from gateway.errors import BodyTooLarge, UnreadableBody

#: What would be right, in every message about a body.
SHAPE = 'Send {"instances": [[…], …]} or {"instances": [{"column": value, …}, …]}'

#: Levels of arrays and objects in a body: far below what any reader of the row could not follow.
DEEPEST = 64

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Envelope:
    """Decodes bodies for one set of unit sources and limits."""

    def __init__(self, sources: Sequence[UnitSource], limits: LimitsConfig) -> None:
        self._limits = limits
        self._fields = {
            source.key: f"unit_{number}"
            for number, source in enumerate(sources)
            if source.kind == "body"
        }
        fields: list[Any] = [("instances", list[msgspec.Raw])]
        fields += [(name, str | int | None, None) for name in self._fields.values()]
        struct = msgspec.defstruct(
            "Envelope",
            fields,
            rename={name: key for key, name in self._fields.items()},
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode: Callable[[bytes | bytearray], Any] = msgspec.json.Decoder(struct).decode

    def parse(self, body: bytes | bytearray) -> tuple[bytes, int, dict[str, str]]:
        """The instances as JSON text, how many they are, and the unit fields that were given.

        Raises UnreadableBody or BodyTooLarge.
        """
        decoded = self._decoded(body)
        rows = len(decoded.instances)
        # Every level is opened by a bracket, so a body of flat rows is judged by counting.
        if body.count(b"[") + body.count(b"{") > rows + DEEPEST and _deeper(body, DEEPEST):
            raise UnreadableBody(
                f"nested more than {DEEPEST} levels deep. {SHAPE}", where="instances"
            )
        if rows == 0:
            raise UnreadableBody(f"instances is empty. {SHAPE}", where="instances")
        if rows > self._limits.rows:
            raise BodyTooLarge(
                f"at most {self._limits.rows} instances in one request. Given: {rows}",
                where="instances",
            )
        payload = b"[" + b",".join(decoded.instances) + b"]"
        if b"\n" in payload or b"\r" in payload:
            # Between JSON tokens a line end is a space; in the journal it would end the line.
            payload = payload.replace(b"\n", b" ").replace(b"\r", b" ")
        units = {}
        for key, name in self._fields.items():
            value = getattr(decoded, name)
            if value is not None and value != "":
                units[key] = str(value)
        return payload, rows, units

    def _decoded(self, body: bytes | bytearray) -> Any:
        try:
            str(body, "utf-8")
            return self._decode(body)
        except UnicodeDecodeError as error:
            raise UnreadableBody(
                f"the body is not UTF-8 at byte {error.start}; send it uncompressed. {SHAPE}",
                where="body",
            ) from None
        except msgspec.ValidationError as error:
            raise UnreadableBody(f"{error}. {SHAPE}", where="body") from None
        except msgspec.DecodeError as error:
            raise UnreadableBody(f"the body is not JSON: {error}. {SHAPE}", where="body") from None
        except RecursionError:
            raise UnreadableBody(f"the body is nested too deeply. {SHAPE}", where="body") from None


def _deeper(body: bytes | bytearray, most: int) -> bool:
    """Whether its brackets nest deeper, by taking the innermost pairs away level by level."""
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _NO_BRACKETS)
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True
