"""One branch's drift as one self-contained HTML page: no script, no font, no image from elsewhere.

All that comes from a branch is escaped, by the templates and by the drawings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gateway import __version__
from gateway.reporting import words
from gateway.reporting.document import Between, Column, Drift, worst_first
from gateway.reporting.history import History
from gateway.reporting.plots import distribution, over_time, rates, spark
from gateway.reporting.widths import plain
from gateway.timestamps import rfc3339

#: Columns that get drawings of their own: so many of those that moved, else so few.
MOST_CARDS, FEWEST_CARDS = 8, 2
_ORDER = ("critical", "alert", "warn", "ok", "insufficient")


@dataclass(frozen=True, slots=True)
class Card:
    """What the page draws of one column."""

    column: Column
    facts: tuple[tuple[str, str], ...]
    distribution: Markup
    #: Of shares of the rows that the distribution does not show: missing, outside, of other type.
    rates: Markup
    over_time: Markup


def featured(drift: Drift) -> list[Column]:
    """The columns that changed most, worst first."""
    ranked = [one for one in worst_first(drift.columns) if one.cells or one.reason]
    ranked = [one for one in ranked if not one.skipped]
    moved = [one for one in ranked if one.severity in ("warn", "alert", "critical")]
    return (moved or ranked[:FEWEST_CARDS])[:MOST_CARDS]


def page(drift: Drift, history: History, *, written: float, trouble: str | None = None) -> str:
    """The HTML; `trouble` says why there is no history, where that is no plain absence."""
    environment = Environment(
        loader=PackageLoader("gateway.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["plain"] = plain
    return environment.get_template("report.html").render(
        drift=drift,
        words=words,
        counts=list(_counts(drift.columns)),
        cards=[_card(one, history) for one in featured(drift)],
        columns=[(one, spark(one)) for one in worst_first(drift.columns)],
        beside=_beside(drift.between) if drift.between else [],
        said_between=words.between(drift.between) if drift.between else [],
        history_trouble=trouble,
        has_history=bool(history),
        version=__version__,
        written=rfc3339(written),
    )


def _counts(columns: Sequence[Column]) -> Iterator[tuple[str, str, int]]:
    """Severity, its words and how many columns have it; the worst first."""
    measured = [one for one in columns if not one.skipped]
    for severity in _ORDER:
        count = sum(one.severity == severity for one in measured)
        if count:
            yield severity, "too few rows" if severity == "insufficient" else severity, count
    if skipped := len(columns) - len(measured):
        yield "skipped", "not measured", skipped


def _card(column: Column, history: History) -> Card:
    name = words.column_name(column)
    return Card(
        column,
        tuple(_facts(column, "reference")),
        distribution(column, "in the reference", "in the window"),
        rates(column, "in the reference", "in the window"),
        over_time(name, history.get(column.column, [])),
    )


def _facts(column: Column, other: str) -> Iterator[tuple[str, str]]:
    if column.psi is not None:
        yield "PSI", f"{words.number(column.psi)} ({words.number(column.psi_null)} by chance)"
    if column.missing_rate or column.missing_rate_ref:
        was = words.share(column.missing_rate_ref)
        yield "missing", f"{words.share(column.missing_rate)} ({other}: {was})"
    for name, rate in (
        ("other type", column.invalid_rate),
        ("outside the range", column.out_of_range_rate),
        ("new values", column.new_category_rate),
    ):
        if rate:
            yield name, words.share(rate)
    if column.new:
        yield "such as", words.named_new(column, 5)
    if column.mean is not None and column.mean_ref is not None and column.kind != "date":
        moved = words.shift(column.mean_shift_sd)
        by = f" ({moved} sd)" if moved else ""
        yield "mean", f"{words.measure(column.mean_ref)} → {words.measure(column.mean)}{by}"


def _beside(found: Between) -> list[Card]:
    """Columns that differ between the branches."""
    differing = [*found.of("split"), *found.of("model")]
    other = f"on {found.other}"
    return [
        Card(
            one,
            tuple(_facts(one, found.other)),
            distribution(one, other, "here"),
            rates(one, other, "here"),
            over_time=Markup(""),
        )
        for one in differing[:MOST_CARDS]
    ]
