"""The table of `gateway drift`: what it must say, at any width, of anything."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import click
import pytest
from driftdocs import document, people

from gateway.reporting.document import Drift, parse_drift
from gateway.reporting.histograms import blocks, most_telling
from gateway.reporting.terminal import terminal
from gateway.statistics.reference import PREDICTION

BEFORE = people(1, 3000, "before")


def read(found: dict[str, Any]) -> Drift:
    return parse_drift(json.dumps(found).encode(), "here")


def told(found: dict[str, Any], width: int = 120, *, whole: bool = False) -> list[str]:
    return click.unstyle(terminal(read(found), width, whole=whole)).splitlines()


def wide(text: str) -> int:
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1
        for one in text
    )


@pytest.fixture(scope="module")
def moved() -> dict[str, Any]:
    return document(BEFORE, people(2, 1500, "moved"))


def test_the_head_says_what_the_verdict_means_and_what_it_is_about(moved: dict[str, Any]) -> None:
    text = "\n".join(told({**moved, "trouble": "data/train.csv: not found"}))
    assert text.startswith("prod  CRITICAL: drift far beyond the tolerance: do not wait")
    assert "The model's whole world moved" in text
    assert "data/train.csv: not found" in text
    assert "window    2026-11-29 12:00 to 13:00 UTC, 1,500 rows, 1,500 users" in text
    assert "reference 3,000 rows of training data, data/train.csv" in text
    assert "waits for 17 rows since 2026-11-29 13:00; may close at 14:00 UTC" in text


def test_the_worst_columns_come_first_with_figures_histogram_and_reason(
    moved: dict[str, Any],
) -> None:
    lines = told(moved)
    start = next(place for place, line in enumerate(lines) if "before│window" in line)
    table = lines[start + 1 : lines.index("", start)]
    severities = [word for line in table if (word := line.split(" ")[0])]
    assert severities == ["critical", "critical", "alert", "alert", *["ok"] * 4, "skipped"]
    columns = {column["column"]: column for column in moved["columns"]}
    (plan,) = (place for place, line in enumerate(table) if " plan " in line)
    assert f"{columns['plan']['psi']:.3f}" in table[plan]
    assert f"{columns['plan']['psi_null']:.3f}" in table[plan]
    assert re.search(r" █[▁-▅]{2} +│▅[▁-▅]{3} ", table[plan])
    assert "distribution moved, new values: student (" in "".join(table[plan : plan + 2])
    (tenure,) = (line for line in table if " tenure_months " in line)
    assert tenure.endswith("more values missing")
    assert f"{columns['tenure_months']['missing_rate']:.0%}" in tenure
    assert any("prediction" in line for line in table)
    assert not any(PREDICTION in line for line in table)
    assert table[-1].endswith("not measured: nested")


@pytest.mark.parametrize("width", [40, 80, 100, 120, 140, 300])
def test_no_line_is_wider_than_the_terminal_whatever_columns_are_called(width: int) -> None:
    names = ["x" * 300, "列" * 90, "e\u0301" * 50, "\x1b[31mred\x1b[0m\r\n", "\u202eevil", ""]
    rows = dict.fromkeys(names, BEFORE["plan"])
    after = {name: ["語" * 60 if i % 2 else "a b" for i in range(500)] for name in names}
    found = document(rows, after, branch="b" * 150, other=people_like(after))
    text = terminal(read(found), width)
    lines = click.unstyle(text).splitlines()
    assert max(wide(line) for line in lines) <= min(max(width, 80), 160)
    assert "\x1b[31mred" not in text
    assert all(one.isprintable() for line in lines for one in line)
    assert sum(line.startswith("critical ") for line in lines) >= len(names)


def people_like(rows: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: ["a b"] * 500 for name in rows}


def test_of_300_columns_the_20_worst_are_shown_unless_all_are_wanted() -> None:
    before = {f"c{place}": BEFORE["age"] for place in range(300)}
    after = dict.fromkeys(before, BEFORE["age"][:300]) | {"c123": [300.0] * 300}
    found = document(before, after)
    lines = told(found)
    shown = [line for line in lines if line.split(" ")[0] in ("critical", "ok")]
    assert len(shown) == 20
    assert shown[0].split()[:2] == ["critical", "c123"]
    assert any("and 280 ok: --all shows them" in line for line in lines)
    lines = told(found, whole=True)
    assert len([line for line in lines if line.split(" ")[0] in ("critical", "ok")]) == 300
    assert not any("--all" in line for line in lines)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"state": "waiting"}, "prod  WAITING: nothing that this branch serves now was recorded"),
        (
            {"state": "collecting", "collected": {"rows": 3200, "of": 5000}},
            "waits for 3,200 of 5,000 rows for a reference",
        ),
        ({"state": "counting"}, "nothing can be said before it closes"),
    ],
)
def test_without_a_window_it_says_what_is_waited_for(change: dict[str, Any], said: str) -> None:
    lines = told({"branch": "prod", **change})
    assert any(said in line for line in lines)
    assert not any("PSI" in line for line in lines)


def test_too_few_rows_and_a_live_reference_are_said() -> None:
    lines = told(document(BEFORE, people(3, 40), live=True))
    assert lines[0].endswith("INSUFFICIENT: too few rows for a verdict, which needs at least 100")
    assert any("made of served rows" in line for line in lines)
    assert any(line.startswith("too few") for line in lines)


def test_a_comparison_tells_a_broken_split_from_models_that_differ() -> None:
    inputs = people(3, 1500)
    answers = {**inputs, PREDICTION: ["yes"] * 1500}
    models = "\n".join(told(document(BEFORE, answers, other=people(4, 1500))))
    assert "The models differ: stable gives other answers on the same inputs." in models
    assert "split is broken" not in models
    split = "\n".join(told(document(BEFORE, people(5, 1500, "moved"), other=inputs)))
    assert "The split is broken: users of this branch and of stable are" in split
    assert "inputs differ, distribution moved" in split
    assert "models differ" not in split
    same = "\n".join(told(document(BEFORE, inputs, other=people(4, 1500))))
    assert "Inputs are those of stable: the split works." in same
    few = "\n".join(told(document(BEFORE, inputs, other=people(4, 50))))
    assert "Too few rows to compare with stable." in few


def test_severities_have_colours(moved: dict[str, Any]) -> None:
    text = terminal(read(moved), 120)
    assert "\x1b[31m\x1b[1mcritical\x1b[0m" in text
    assert "\x1b[32mok      \x1b[0m" in text


def test_histograms_share_one_scale_and_lose_no_row() -> None:
    assert blocks([0.5, 0.5, 0.0], [1.0, 0.0, 0.0], 3) == ("▅▅ ", "█  ")
    assert blocks([0.25] * 4, [0.0, 0.0, 0.0, 1.0], 2) == ("▅▅", " █")
    assert blocks([], [], 6) == ("", "")
    assert blocks([0.0], [0.0], 6) == (" ", " ")


def test_of_many_categories_the_largest_on_either_side_stay_and_the_rest_is_one() -> None:
    cells = [(f"c{place}", 0.01, 0.01) for place in range(18)]
    cells += [("then", 0.82, 0.0), ("now", 0.0, 0.82)]
    kept = most_telling(cells, 10)
    assert len(kept) == 10
    assert [name for name, *_ in kept[-3:]] == ["then", "now", "11 others"]
    assert kept[-1][1:] == pytest.approx((0.11, 0.11))
    assert most_telling(cells, 20) == cells
