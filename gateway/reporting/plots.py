"""The drawings of the page: distributions then and now, and a column over the windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from markupsafe import Markup

from gateway.reporting import words
from gateway.reporting.document import Column
from gateway.reporting.drawing import bar, element, label, line, log_place, picture, rounded_up
from gateway.reporting.histograms import Cell, fewer, most_telling
from gateway.reporting.history import Point
from gateway.reporting.widths import cut, plain

WIDTH, HEIGHT = 420.0, 210.0
_LEFT, _TOP, _RIGHT, _BOTTOM = 40.0, 10.0, 8.0, 30.0
#: Categories that get a line each.
_MOST_ROWS = 10
_ROW, _NAMES = 30.0, 126.0
_LOWEST = 0.001
_SHAPES = {
    "ok": "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "warn": "M0-4.5L4.5 3.5H-4.5Z",
    "alert": "M0-5L5 0L0 5L-5 0Z",
    "critical": "M-4.5-4.5H4.5V4.5H-4.5Z",
    "insufficient": "M-2 0a2 2 0 1 0 4 0a2 2 0 1 0-4 0",
}


def distribution(column: Column, before: str, now: str) -> Markup:
    """Both distributions as pairs of bars; `before` and `now` are what the two sides are called."""
    name = words.column_name(column)
    if not column.cells:
        return Markup("")
    if column.kind == "categorical":
        return _rows(name, most_telling(column.cells, _MOST_ROWS), before, now)
    return _bars(name, column.cells, before, now)


def rates(column: Column, before: str, now: str) -> Markup:
    """The rates for which a column was flagged, as pairs of bars."""
    found = (
        ("missing", "missing", column.missing_rate_ref, column.missing_rate),
        ("range", "outside the range", 0.0, column.out_of_range_rate),
        ("invalid", "of another type", 0.0, column.invalid_rate),
    )
    reasons = column.reason.split(";")
    cells = [(text, was or 0.0, now or 0.0) for name, text, was, now in found if name in reasons]
    return _rows(words.column_name(column), cells, before, now) if cells else Markup("")


def _told(cell: Cell, before: str, now: str) -> str:
    return f"{cell[0]}: {words.share(cell[1])} {before}, {words.share(cell[2])} {now}"


def _summary(name: str, cells: Sequence[Cell], before: str, now: str) -> str:
    moved = max(cells, key=lambda cell: abs(cell[2] - cell[1]))
    return f"Distribution of {name}. Furthest apart: {_told(moved, before, now)}"


def _bars(name: str, cells: Sequence[Cell], before: str, now: str) -> Markup:
    highest = rounded_up(max(max(cell[1:]) for cell in cells))
    bottom, height = HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - _TOP
    step = (WIDTH - _LEFT - _RIGHT) / len(cells)
    thick = min(step * 0.42, 26.0)

    def parts() -> Iterator[Markup]:
        for share in (0.0, highest / 2, highest):
            y = bottom - height * share / highest
            yield line("grid", (_LEFT, y), (WIDTH - _RIGHT, y))
            yield label(f"{100 * share:.3g}%", _LEFT - 6, y + 4, "end")
        for place, cell in enumerate(cells):
            middle = _LEFT + step * (place + 0.5)
            for kind, share, x in (
                ("before", cell[1], middle - thick),
                ("now", cell[2], middle),
            ):
                tall = height * share / highest
                yield bar(kind, (x, bottom - tall), (thick, tall), _told(cell, before, now))
        yield from _under(cells, step)

    return picture(_summary(name, cells, before, now), WIDTH, HEIGHT, parts())


def _under(cells: Sequence[Cell], step: float) -> Iterator[Markup]:
    """Names below the bars: of all where there is room, else of the ends and the middle."""
    widest = max(len(cell[0]) for cell in cells)
    y = HEIGHT - _BOTTOM + 18
    if widest * 7 <= step:
        for place, cell in enumerate(cells):
            yield label(cell[0], _LEFT + step * (place + 0.5), y, "middle")
        return
    yield label(cut(cells[0][0], 19), _LEFT, y)
    if len(cells) > 2:
        middle = len(cells) // 2
        yield label(cut(cells[middle][0], 19), _LEFT + step * (middle + 0.5), y, "middle")
    if len(cells) > 1:
        yield label(cut(cells[-1][0], 19), WIDTH - _RIGHT, y, "end")


def _rows(name: str, cells: Sequence[Cell], before: str, now: str) -> Markup:
    highest = max(max(cell[1:]) for cell in cells) or 1.0
    room = WIDTH - _NAMES - 46
    height = _ROW * len(cells) + 8

    def parts() -> Iterator[Markup]:
        yield line("grid", (_NAMES, 2.0), (_NAMES, height - 2))
        for place, cell in enumerate(cells):
            y = 4 + _ROW * place
            told = _told(cell, before, now)
            yield element(
                "g",
                element("title", plain(told)),
                label(cut(cell[0], 18), _NAMES - 8, y + 17, "end", "name"),
            )
            for kind, share, top in (("before", cell[1], y + 2), ("now", cell[2], y + 14)):
                long = room * share / highest
                yield bar(kind, (_NAMES, top), (long, 11.0), told)
                yield label(words.share(share), _NAMES + long + 6, top + 9.5, "start", "small")

    return picture(_summary(name, cells, before, now), WIDTH, height, parts())


def over_time(name: str, points: Sequence[Point]) -> Markup:
    """PSI by window, with its tolerance and what chance alone would give."""
    known = [point for point in points if point.psi is not None]
    if not known:
        return Markup("")
    highest = max(1.0, *(point.psi or 0.0 for point in known))
    begin, end = known[0].start, known[-1].end
    bottom, height = HEIGHT - _BOTTOM, HEIGHT - _BOTTOM - _TOP
    seconds = max(1.0, (end - begin).total_seconds())

    def x(at: datetime) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT - 8) * (at - begin).total_seconds() / seconds

    def y(value: float) -> float:
        return bottom - height * log_place(value, _LOWEST, highest)

    def parts() -> Iterator[Markup]:
        for value in (0.001, 0.01, 0.1, 1.0, 10.0):
            if value <= highest:
                yield line("grid", (_LEFT, y(value)), (WIDTH - _RIGHT, y(value)))
                yield label(f"{value:g}".removeprefix("0"), _LEFT - 6, y(value) + 4, "end")
        chance = [(x(p.end), y(p.psi_null or _LOWEST)) for p in known]
        yield element("path", class_="chance", d=_area(chance, bottom))
        yield from _changes(known, x, bottom)
        for point in known:
            yield line("tick", (x(point.end), bottom), (x(point.end), bottom + 4))
        yield element("path", class_="psi", d=_path([(x(p.end), y(p.psi or 0.0)) for p in known]))
        for point in known:
            yield _mark(point, x(point.end), y(point.psi or 0.0))
        yield from _threshold(known[-1].tolerance, y)
        yield from _dates(begin, end)

    worst = max(known, key=lambda point: point.psi or 0.0)
    told = (
        f"PSI of {name} over {len(known)} windows to {words.moment(end)}: now"
        f" {words.number(known[-1].psi)}, at most {words.number(worst.psi)}"
    )
    return picture(told, WIDTH, HEIGHT, parts())


def _threshold(tolerance: float | None, y: Callable[[float], float]) -> Iterator[Markup]:
    if tolerance:
        yield line("threshold", (_LEFT, y(tolerance)), (WIDTH - _RIGHT, y(tolerance)))
        text = f"tolerance {words.number(tolerance)}"
        yield label(text, WIDTH - _RIGHT, y(tolerance) - 4, "end", "small limit")


def _changes(
    points: Sequence[Point], x: Callable[[datetime], float], bottom: float
) -> Iterator[Markup]:
    """Where another commit began to serve."""
    for before, after in pairwise(points):
        if before.commit != after.commit and after.commit:
            place = x(after.start)
            yield element(
                "g",
                element("title", f"from here on commit {after.commit[:10]}"),
                line("change", (place, _TOP), (place, bottom)),
                label(after.commit[:7], place + 3, _TOP + 8, "start", "small"),
            )


def _mark(point: Point, x: float, y: float) -> Markup:
    reason = f" ({point.reason.replace(';', ', ')})" if point.reason else ""
    told = (
        f"{words.moment(point.start)} to {words.moment(point.end)}: PSI {words.number(point.psi)},"
        f" {words.number(point.psi_null)} by chance, {point.severity}{reason}"
    )
    return element(
        "path",
        element("title", plain(told)),
        class_=f"mark {point.severity if point.severity in _SHAPES else 'ok'}",
        d=_SHAPES.get(point.severity, _SHAPES["ok"]),
        transform=f"translate({x:.1f} {y:.1f})",
    )


def _dates(begin: datetime, end: datetime) -> Iterator[Markup]:
    y = HEIGHT - _BOTTOM + 18
    begin, end = begin.astimezone(UTC), end.astimezone(UTC)
    yield label(f"{begin:%d %b %H:%M}", _LEFT, y)
    yield label(f"{end:%d %b %H:%M} UTC", WIDTH - _RIGHT, y, "end")


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)


def _area(places: Sequence[tuple[float, float]], bottom: float) -> str:
    first, last = (_LEFT, places[0][1]), places[-1]
    return _path([(_LEFT, bottom), first, *places, (last[0], bottom)]) + "Z"


def spark(column: Column, cells: int = 10) -> Markup:
    """Both distributions, as small as a word: what is now stands before what was."""
    if not column.cells:
        return Markup("")
    before, now = fewer(column.reference, cells), fewer(column.current, cells)
    highest = max(*before, *now) or 1.0
    step, height = 9.0, 24.0

    def steps(shares: Sequence[float]) -> str:
        places = [(x * step, height - height * s / highest) for x, s in enumerate(shares)]
        tops = "".join(f"V{y:.1f}h{step:g}" for _, y in places)
        return f"M0 {height:g}{tops}V{height:g}Z"

    parts = (
        element("path", class_="before", d=steps(before)),
        element("path", class_="outline", d=steps(now)),
    )
    name = words.column_name(column)
    return picture(f"Distribution of {name}, small", step * len(before), height + 1, parts)
