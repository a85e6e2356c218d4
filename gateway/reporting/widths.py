"""Texts that came from a branch, made fit to be shown: nothing that acts, and of a known width."""

from __future__ import annotations

import unicodedata

#: Stands for a blank that no line is broken at; no printable text has one.
_GLUED = "\0%"


def plain(text: str) -> str:
    """Without what a terminal or a browser acts upon: escapes, line ends, changes of direction."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def width(text: str) -> int:
    """Columns of a terminal that printable text takes."""
    return sum(_one(character) for character in text)


def _one(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """At most so wide, with an ellipsis where something is left out."""
    if width(text) <= columns:
        return text
    return text[: _fitting(text, columns - 1)] + "…"


def fitted(text: str, columns: int) -> str:
    """Exactly so wide."""
    text = cut(text, columns)
    return text + " " * (columns - width(text))


def wrapped(text: str, columns: int) -> list[str]:
    """Lines of at most so wide, broken between words, or where a word is wider than a line.

    A number and its percent sign are one word.
    """
    lines = [""]
    for word in text.replace(" %", _GLUED).split(" "):
        rest = word.replace(_GLUED, " %")
        if lines[-1] and width(lines[-1]) + 1 + width(rest) > columns:
            lines.append("")
        while not lines[-1] and width(rest) > columns:
            end = max(1, _fitting(rest, columns))
            lines[-1:] = [rest[:end], ""]
            rest = rest[end:]
        lines[-1] = f"{lines[-1]} {rest}" if lines[-1] else rest
    return lines


def folded(text: str, columns: int, lines: int) -> list[str]:
    """A name on as few lines as it takes, at most so many, the last of them cut."""
    found: list[str] = []
    while len(found) < lines - 1 and width(text) > columns:
        end = max(1, _fitting(text, columns))
        found.append(text[:end])
        text = text[end:]
    return [*found, cut(text, columns)]


def _fitting(text: str, columns: int) -> int:
    """How many characters fit."""
    used = 0
    for place, character in enumerate(text):
        used += _one(character)
        if used > columns:
            return place
    return len(text)
