"""What deploy/failures.md claims is shown by a test that it names and told by metrics there are."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from gateway.metrics import Metrics

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "deploy" / "failures.md").read_text()
HEADER = ["when", "users see", "lost", "it is told by", "what to do", "test"]


def rows() -> list[list[str]]:
    """The cells of every mishap."""
    lines = [line for line in PAGE.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]
    return [row for row in cells if row != HEADER and set(row[0]) != {"-"}]


@cache
def defined() -> frozenset[str]:
    """The names of all tests."""
    sources = (path.read_text() for path in TESTS.rglob("test_*.py"))
    return frozenset(
        name
        for source in sources
        for name in re.findall(r"^(?:async )?def (test_\w+)", source, re.MULTILINE)
    )


def test_every_mishap_is_told_in_full_and_named_once() -> None:
    assert [row for row in rows() if len(row) != len(HEADER) or not all(row)] == []
    named = [row[0] for row in rows()]
    assert len(named) == len(set(named)) > 40


def test_every_claim_names_a_test_that_is_there() -> None:
    claimed = [re.findall(r"`(test_\w+)`", row[-1]) for row in rows()]
    assert all(claimed)
    assert {name for names in claimed for name in names} - defined() == set()


def test_every_metric_of_the_page_is_there() -> None:
    known = {family.name for family in Metrics().registry.collect()}
    told = set(re.findall(r"\bgateway_\w+", PAGE))
    assert {name for name in told if name.removesuffix("_total") not in known} == set()
