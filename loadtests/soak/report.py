"""A soak's figures: for the terminal, and as the page SOAK.md."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from statistics import median, quantiles

from loadtests.bench.machine import machine
from loadtests.bench.report import table
from loadtests.soak.flatness import (
    DESCRIPTORS,
    MEMORY_BYTES,
    MEMORY_SHARE,
    SHORTEST,
    WARM_UP,
    Trend,
)
from loadtests.soak.ledger import Outcome
from loadtests.soak.plan import Deed
from loadtests.soak.run import FLUSH, QUEUE_ROWS, Soak

VERSIONS = ("branch-gateway", "scikit-learn", "uvicorn", "uvloop", "starlette")

Row = tuple[str, ...]


def terminal(found: Soak) -> str:
    """Everything, in columns."""
    parts = [_aligned(rows) for _, rows in _sections(found)]
    problems = found.all_problems()
    verdict = (
        "PASSED" if not problems else "FAILED\n" + "\n".join(f"  - {each}" for each in problems)
    )
    return "\n\n".join([*parts, verdict])


def page(found: Soak, began: str) -> str:
    """The whole of SOAK.md."""
    here = machine()
    versions = ", ".join(f"{name} {version(name)}" for name in VERSIONS)
    problems = found.all_problems()
    verdict = (
        "**Passed.**"
        if not problems
        else "**Failed:**\n\n" + "\n".join(f"- {' '.join(each.split())}" for each in problems)
    )
    about = [
        ("processor", f"{here.processor}, {here.cores} cores"),
        ("memory", f"{here.memory_bytes / 1e9:.1f} GB"),
        ("system", here.system),
        ("versions", f"Python {here.python}, {_git()}, {versions}"),
        ("begun", began),
    ]
    head = f"""# A soak

Written by `make soak`; what is done and what is judged stands in [README.md](README.md).

{verdict}

{table(("", ""), about, words=2)}"""
    parts = [f"## {title}\n\n{table(rows[0], rows[1:])}" for title, rows in _sections(found)]
    return "\n\n".join([head, *parts, _BOUND]) + "\n"


_BOUND = (
    f"Medians of the first and last third of a life, the first {WARM_UP:.0%} of it left out; what"
    f" may come on top is {MEMORY_SHARE:.0%} and {MEMORY_BYTES / 1e6:.0f} MB of memory, and"
    f" {DESCRIPTORS} descriptors. A life below {SHORTEST:.0f} s is not judged. All together counts"
    " where there were as many processes of each kind as there mostly are."
)


def _git() -> str:
    said = subprocess.run(["git", "version"], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def _sections(found: Soak) -> list[tuple[str, list[Row]]]:
    return [
        ("Requests", _requests(found)),
        ("What is recorded", _recorded(found)),
        ("What was done meanwhile", _deeds(found)),
        (
            "Memory and descriptors",
            [_TRENDS, *(_trend(each, found.judges_growth) for each in found.trends)],
        ),
    ]


def _requests(found: Soak) -> list[Row]:
    outcomes, options = found.ledger.outcomes, found.options
    answered = [each for each in outcomes if each.status == 200 and not each.cause]
    windows = found.ledger.windows
    quiet = [each for each in answered if not any(window.touches(each) for window in windows)]
    by_branch = Counter(each.branch for each in answered)
    rows: list[Row] = [
        ("requests", ""),
        ("seed", str(options.seed)),
        ("seconds of traffic", f"{found.lasted:,.0f}"),
        ("clients, beside crowds and slow ones", str(options.clients)),
        ("asked", f"{len(outcomes):,}"),
        ("answered", f"{len(answered):,}"),
        *((f"answered by {name}", f"{count:,}") for name, count in sorted(by_branch.items())),
        ("rows answered", f"{sum(each.rows for each in answered):,}"),
        ("ms, p50 / p99, without overload and with the front up", _latency(quiet)),
        ("ms, p50 / p99, all that were answered", _latency(answered)),
    ]
    rows += [
        (f"excused by {excuse}: {status or 'no answer'}, {cause}", f"{count:,}")
        for (excuse, status, cause), count in sorted(found.failed.excused.items())
    ]
    failed = found.failed.others.total()
    return [*rows, ("failed without an excuse", f"{failed:,}")]


def _recorded(found: Soak) -> list[Row]:
    findings = found.findings
    right = findings.answered - len({*findings.lost, *findings.doubled, *findings.incomplete})
    return [
        (f"flush {FLUSH}, every row, queues of {QUEUE_ROWS} rows", ""),
        ("answered request ids", f"{findings.answered:,}"),
        ("refused request ids", f"{findings.refused:,}"),
        ("answered ids recorded exactly once, with all rows", f"{right:,}"),
        ("lost", f"{len(findings.lost):,}"),
        ("doubled", f"{len(findings.doubled):,}"),
        ("with rows missing", f"{len(findings.incomplete):,}"),
        ("recorded as another answer", f"{len(findings.different):,}"),
        ("users with two arms in one epoch", f"{len(findings.two_arms):,}"),
        *(
            (f"answered as {why}", f"{count:,}")
            for why, count in sorted(findings.fallbacks.items())
        ),
        ("recorded, the caller gone or cut off before the answer", f"{findings.strangers:,}"),
        ("rows in segments", f"{findings.rows:,}"),
        ("segments", f"{found.segments:,}"),
        ("monitoring commits", f"{found.monitoring_commits:,}"),
        ("seconds until all was in git, after the last request", f"{found.published_after:.1f}"),
    ]


def _deeds(found: Soak) -> list[Row]:
    rows: list[Row] = [("deed", "times", "left out", "in force after s, median", "longest")]
    for deed in Deed:
        took = found.deeds.took[deed]
        spent = (f"{median(took):.2f}", f"{max(took):.2f}") if took else ("-", "-")
        counts = (found.deeds.done[deed], found.deeds.left_out[deed])
        rows.append((deed, *map(str, counts), *spent))
    return rows


_TRENDS = ("process", "seconds", "first third", "last third", "at most", "peak", "")


def _trend(each: Trend, judges: bool) -> Row:
    scale = 1e6 if each.unit == "MB" else 1.0
    form = "{:,.1f} MB" if each.unit == "MB" else "{:,.0f}"
    figures = (form.format(value / scale) for value in (each.early, each.late, each.allowed))
    verdict = "flat" if each.is_flat else "GREW"
    said = verdict if each.is_judged else f"lived less than {SHORTEST:.0f} s"
    if not judges:
        said = "not judged in so short a soak"
    peak = form.format(each.peak / scale)
    return (each.what, f"{each.seconds:.0f}", *figures, peak, said)


def _latency(outcomes: Sequence[Outcome]) -> str:
    spans = [1e3 * (each.ended - each.asked) for each in outcomes]
    if len(spans) < 2:
        return "-"
    return f"{median(spans):.1f} / {quantiles(spans, n=100)[98]:.1f}"


def _aligned(rows: Iterable[Row]) -> str:
    listed = list(rows)
    widths = [max(len(row[at]) for row in listed) for at in range(len(listed[0]))]
    lines = (
        "  ".join(
            text.ljust(width) if at == 0 else text.rjust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in listed
    )
    return "\n".join(lines)
