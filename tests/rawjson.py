"""Texts that are JSON, nearly JSON or nothing of the kind, for Hypothesis: as bytes."""

from __future__ import annotations

import json

from hypothesis import strategies as st

#: Numbers and words that readers of JSON disagree about, and texts that are half a character.
_ODD = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"1e-999", b"-0", b"-0.0", b"01"),
    *(b"1.", b".5", b"+1", b"0x10", b"1_000", b"9" * 400, b"-" + b"9" * 30, b"1" + b"0" * 30),
    *(b"18446744073709551616", b"1.7976931348623157e308", b"5e-324", b"True", b"None", b"nul"),
    *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\u0000"', b'"\x00"', b'"\xff"', b'"\xed\xa0\x80"'),
    *(b'"\\x"', b"'a'", b'"a', b'"\n"', b'"\xf0\x9f\x98\x80"', b'"\xe2\x80\xa8"', b"", b"/**/1"),
)
scalars = st.one_of(
    st.sampled_from(_ODD),
    st.none().map(lambda _: b"null"),
    st.booleans().map(lambda value: b"true" if value else b"false"),
    st.integers().map(lambda value: b"%d" % value),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda value: repr(value).encode()),
    st.text(max_size=20).map(lambda value: json.dumps(value).encode()),
    st.text(max_size=20, alphabet=st.characters(codec="utf-8")).map(
        lambda value: json.dumps(value, ensure_ascii=False).encode()
    ),
)
_BLANKS = st.sampled_from([b"", b" ", b"\n", b"\r\n", b"\t"])


def array(parts: list[bytes], blank: bytes = b"") -> bytes:
    return b"[" + (b"," + blank).join(parts) + b"]"


def record(parts: list[tuple[bytes, bytes]], blank: bytes = b"") -> bytes:
    """An object; a name may be in it twice."""
    return b"{" + (b"," + blank).join(name + b":" + value for name, value in parts) + b"}"


def names(known: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    quoted = [json.dumps(name).encode() for name in known]
    return st.one_of(
        st.sampled_from(quoted), st.text(max_size=8).map(lambda n: json.dumps(n).encode())
    )


def values(known: tuple[str, ...] = ("a", "b")) -> st.SearchStrategy[bytes]:
    """Any value; records have some of the `known` names."""
    deep = st.integers(1, 3000).map(lambda levels: b"[" * levels + b"]" * levels)
    return st.recursive(
        scalars | deep,
        lambda inner: st.one_of(
            st.builds(array, st.lists(inner, max_size=4), _BLANKS),
            st.builds(record, st.lists(st.tuples(names(known), inner), max_size=4), _BLANKS),
        ),
        max_leaves=12,
    )
