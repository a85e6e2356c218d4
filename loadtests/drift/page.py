"""DRIFT.md from the figures: what was measured beside what was expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from loadtests.drift.comparison import PEERS, SHIFTED, Comparison, false_alarm_share
from loadtests.drift.expected import FALSE_ALARMS, POWER, REPEATED
from loadtests.drift.populations import ICC
from loadtests.drift.records import Compared, Figures, Part, Tables, Throughput
from loadtests.drift.rules import RULES
from loadtests.drift.simulation import ALPHA, LARGE, OURS, OURS_WARN, TOLERANCES, Shares

_WHY = """
Why they differ:

- **mean radius** (+0.3 sd): about 0.2 in PSI, as these numbers are skewed. That is more than ours
  tolerates, but 200 rows beside 426 do not prove it at an alpha that 32 columns share; 5,000 do. A
  p of 5 % a column asks only whether there is any difference.
- **mean texture** (+1 sd): beyond every tolerance. NannyML's threshold is the mean and three sd of
  the distance of ten reference chunks, 42 rows each, most of which is noise.
- **mean perimeter** (spread x1.5): as for the mean radius; the tails grow, the middle stays.
- **mean area** (5 % missing): both peers drop missing values before they test, and have metrics of
  their own for them. Ours judges the rate once it cannot be the reference's and 1 % more: 426 rows
  without any allow for 2.7 %.
- **mean smoothness** (one value of 1e6): one row of a window is no drift, and it widens no bin.
- **plan** (a new category in 10 % of the rows): Evidently's chi² expects none of a category that
  the reference lacks, so that one row of it makes p 0. Ours warns of 20 rows;
  500 are beyond what 426 rows may have missed, and it names them.
- **heavy**: nothing was done to it, nor to the others.
"""
_INTRODUCTION = """# Drift

Written by `make drift-tables`, `make drift-bench` and `make drift-compare`; what is done stands in
[README.md](README.md). In each cell stands what was measured; behind the stroke, where there is
one, the figure of STATISTICS §1.3.
"""

_ALARMS = """Share of windows without drift that fire, of {runs} each; a reference of {rows:,} rows,
seed {seed}. Ours at its defaults, as in a window of 30 columns (alpha {alpha:.2g} each): alerts and
critical ones, before a second window is asked for. The rules of others: `loadtests/drift/rules.py`.
"""
_USERS = """Users who come again: normal numbers, {icc:g} of whose variance is the user's own,
{runs} windows each. `rows as units` is ours without U/n.
"""
_KINDS = """Ours by kind of column, in brackets of how many windows: alarms and warnings with each
row of another user, alarms and warnings with ten rows of each.
"""
_POWER = """Share of {runs} windows of shifted normal numbers whose p is below {alpha:.2g}, for
tolerances of {tolerances}. Defaults: warn .02, alert .05, critical .2.
"""
_ROWS = """In one thread; rows are lists of plain values by column, each row of another user. Eight
of ten columns are numbers, one has few values, one is of 50 categories. Reading rows comes besides.
"""
_JUDGES = """The breast cancer data of scikit-learn, a sample of 426 rows as reference. Windows are
drawn with replacement from all 569, so that a column to which nothing is done has no drift. (Most
of what they are drawn from is the reference: false alarms are rarer here than above.)
Two columns are added, `plan` of three categories and `heavy`. Each judge at its defaults; ours as
in the second such window. NannyML parts a window into ten chunks.
"""


def page(figures: Figures) -> str:
    """All parts that were measured; those that were not are said to be missing."""
    parts = [_INTRODUCTION]
    parts.append("\n".join(_tables(figures.tables)) if figures.tables else _absent("tables"))
    parts.append("\n".join(_bench(figures.bench)) if figures.bench else _absent("bench"))
    parts.append("\n".join(_compare(figures.compare)) if figures.compare else _absent("compare"))
    return "\n".join(parts)


def _absent(part: str) -> str:
    return f"## {part}\n\nNot measured: `make drift-{part}`.\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table in which all columns but the first are figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def rate(share: float) -> str:
    """A share as it stands in a cell: `.31`, `1.00`, `0` for none at all."""
    if not share:
        return "0"
    return f"{share:.2f}".removeprefix("0") if share >= 0.01 else f"{share:.4f}".removeprefix("0")


def beside(measured: float, expected: float | None) -> str:
    return rate(measured) if expected is None else f"{rate(measured)} / {rate(expected)}"


def _where(part: Part) -> list[str]:
    machine = part.machine
    versions = ", ".join(f"{name} {number}" for name, number in part.versions.items())
    where = f"{machine.processor}, {machine.cores} cores, load {machine.load_before} before"
    return [
        f"{part.begun}, {part.seconds:.0f} s; {where}; Python {machine.python}, {versions}.",
        "",
    ]


def _tables(tables: Tables) -> Iterator[str]:
    yield "## False alarms\n"
    yield from _where(tables.part)
    runs = tables.false_alarms[0].runs
    yield _ALARMS.format(runs=runs, rows=LARGE, seed=tables.seed, alpha=ALPHA)
    header = ["population", "rows", *RULES, OURS, OURS_WARN]
    yield from table(
        header, (_shares_row(one, header[2:], FALSE_ALARMS) for one in tables.false_alarms)
    )
    yield _USERS.format(icc=ICC, runs=tables.users[0].runs)
    header = ["population", "rows", *tables.users[0].fired]
    yield from table(header, (_shares_row(one, header[2:], REPEATED) for one in tables.users))
    yield _KINDS
    yield from _pivoted("population", tables.kinds, _kinds_cell)
    yield "## Power\n"
    tolerances = ", ".join(f"{tolerance:g}" for tolerance in TOLERANCES)
    yield _POWER.format(runs=tables.power[0].runs, alpha=ALPHA, tolerances=tolerances)
    yield from _pivoted("shift", tables.power, _power_cell)


def _pivoted(what: str, found: Sequence[Shares], cell: Callable[[Shares], str]) -> list[str]:
    """A line for each kind of window, a column for each number of rows."""
    sizes = sorted({one.rows for one in found})
    cells = {(one.what, one.rows): cell(one) for one in found}
    lines = (
        [kind, *(cells[kind, rows] for rows in sizes)]
        for kind in dict.fromkeys(k for k, _ in cells)
    )
    return table([what, *(f"{rows:,} rows" for rows in sizes)], lines)


def _kinds_cell(one: Shares) -> str:
    return f"{' '.join(rate(one.of(name)) for name in one.fired)} (of {one.runs})"


def _shares_row(
    one: Shares, rules: Iterable[str], expected: Mapping[tuple[str, int], Mapping[str, float]]
) -> list[str]:
    wanted = expected.get((one.what, one.rows), {})
    return [one.what, f"{one.rows:,}", *(beside(one.of(rule), wanted.get(rule)) for rule in rules)]


def _power_cell(one: Shares) -> str:
    measured = " ".join(rate(one.of(str(tolerance))) for tolerance in TOLERANCES)
    expected = POWER.get((one.what, one.rows))
    return measured if expected is None else f"{measured} / {' '.join(map(rate, expected))}"


def _bench(bench: Throughput) -> Iterator[str]:
    yield "## Rows a second\n"
    yield from _where(bench.part)
    yield _ROWS
    header = ["what", "columns", "rows at once", "rows a second", "CPU µs"]
    yield from table(
        header,
        (
            [
                line.what,
                str(line.columns),
                f"{line.batch:,}" if line.batch else "",
                f"{line.rows_per_second:,.0f}" if line.batch else "",
                f"{line.cpu_us:,.1f}{' a row' if line.batch else ''}",
            ]
            for line in bench.lines
        ),
    )


def _compare(compare: Compared) -> Iterator[str]:
    yield "## Verdicts beside Evidently's and NannyML's\n"
    yield from _where(compare.part)
    yield _JUDGES
    for one in compare.comparisons:
        yield f"### A window of {one.rows:,} rows\n"
        for peer in PEERS:
            if peer in one.missing:
                yield f"{peer} is missing: {one.missing[peer]}\n"
        yield from table(
            ["column", "done to it", *(_judge(name, one) for name in one.verdicts)],
            [*_verdict_rows(one), _quiet_row(one)],
        )
    yield _WHY


def _judge(name: str, one: Comparison) -> str:
    return f"{name} {one.versions[name]}" if name in one.versions else name


def _verdict_rows(one: Comparison) -> Iterator[list[str]]:
    for column, done in SHIFTED.items():
        cells = [column, done]
        for name, verdicts in one.verdicts.items():
            verdict = verdicts[column]
            word = verdict.said or ("drift" if verdict.share else "no drift")
            if name == "nannyml":
                word = f"{round(verdict.share * 10)} of 10 chunks"
            cells.append(f"**{word}**, {verdict.statistic}")
        yield cells


def _quiet_row(one: Comparison) -> list[str]:
    quiet = sum(name not in SHIFTED for name in one.verdicts["gateway"])
    shares = (f"{false_alarm_share(v):.1%} fire" for v in one.verdicts.values())
    return [f"{quiet} others and heavy", "none", *shares]
