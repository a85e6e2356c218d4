"""SVG elements as escaped markup, and the scales by which figures become places."""

from __future__ import annotations

import math
from collections.abc import Iterable

from markupsafe import Markup, escape

from gateway.reporting.widths import plain


def element(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """An element; `_` in an attribute's name is written `-`, and `class_` is `class`."""
    written = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _value(value))
        for key, value in attributes.items()
        if value is not None
    )
    inside = Markup("").join(escape(child) for child in children)
    # The name is one of ours.
    return Markup(f"<{name}{written}>{inside}</{name}>")  # noqa: S704


def picture(label: str, width: float, height: float, parts: Iterable[Markup]) -> Markup:
    """A whole drawing that says in words what it shows."""
    return element(
        "svg",
        element("title", plain(label)),
        *parts,
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        preserveAspectRatio="xMinYMid meet",
        role="img",
        aria_label=plain(label),
    )


def bar(kind: str, place: tuple[float, float], size: tuple[float, float], said: str = "") -> Markup:
    """A rectangle of a class; what it says shows when it is pointed at."""
    title = (element("title", plain(said)),) if said else ()
    (x, y), (width, height) = place, size
    return element("rect", *title, class_=kind, x=x, y=y, width=width, height=height, rx=1)


def label(text: str, x: float, y: float, anchor: str = "start", kind: str = "label") -> Markup:
    return element("text", plain(text), class_=kind, x=x, y=y, text_anchor=anchor)


def line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> Markup:
    return element("line", class_=kind, x1=start[0], y1=start[1], x2=end[0], y2=end[1])


def rounded_up(share: float) -> float:
    """The next share that is a round end of an axis."""
    steps = (0.02, 0.04, 0.06, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
    return next((step for step in steps if share <= step), share)


def log_place(value: float, lowest: float, highest: float) -> float:
    """From 0 to 1 on a logarithmic scale; what is beyond an end is at it."""
    value = min(max(value, lowest), highest)
    return (math.log(value) - math.log(lowest)) / (math.log(highest) - math.log(lowest))


def _value(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
