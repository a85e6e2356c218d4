"""Rows of results: each is its cell again, and what is no row is named and passed over."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import pytest
from experimentcells import COMMITS, CONTRAST, EPOCH, START, evidence, key
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.experiments.cells import Cell
from gateway.experiments.evidence import Terms
from gateway.experiments.metrics import EXPOSURE, QUANTUM, Metric
from gateway.experiments.rows import Fields, ResultRow, parse_rows, row_of
from gateway.monitoring.segments import RESULT_COLUMNS, Rows
from gateway.names import BUCKETS, Branch

BOUGHT = Metric("bought", "binary", role="primary", margin=0.02)
SPENT = Metric("spent", "mean", window=90.5)
TERMS = Terms((BOUGHT, SPENT), alpha=0.025, kept=128)
SHARE = {EPOCH: 1 / 3}

BUCKET = st.integers(0, BUCKETS - 1)
GRAIN = st.integers(-(2**52), 2**52).map(lambda grain: grain * QUANTUM)
VALUE = st.one_of(GRAIN, st.floats(-(2.0**62), 2.0**62))
COUNT = st.integers(0, 2**40)
CELLS = st.builds(
    Cell,
    units=COUNT,
    events=COUNT,
    values=st.dictionaries(BUCKET, VALUE, max_size=8),
    counts=st.dictionaries(BUCKET, COUNT.map(float), max_size=8),
    tallies=st.dictionaries(
        st.sampled_from(["late", "without_unit:error_rate"]), st.integers(0, 9)
    ),
)


def text_of(*fields: Fields) -> str:
    rows = Rows(RESULT_COLUMNS)
    for one in fields:
        rows.add(*one)
    return rows.encode().decode()


def read(text: str) -> ResultRow:
    parsed = parse_rows([("a.csv", text)])
    assert parsed.bad == []
    (row,) = parsed.rows
    return row


def test_the_fields_are_the_columns() -> None:
    assert Fields._fields == RESULT_COLUMNS


@given(CELLS, st.sampled_from([EXPOSURE, "bought", "spent", "paired:spent"]))
@settings(max_examples=80, deadline=None)
def test_a_row_is_its_cell_again_to_the_last_digit(cell: Cell, metric: str) -> None:
    where = key(4, "exp", metric)
    row = read(text_of(row_of(where, cell, evidence({}, SHARE), TERMS)))
    assert (row.key, row.cell, row.contrast, row.share) == (where, cell, CONTRAST, 1 / 3)
    for mine, other in ((row.cell.values, cell.values), (row.cell.counts, cell.counts)):
        assert {b: repr(float(v)) for b, v in mine.items() if v} == {
            b: repr(float(v)) for b, v in other.items() if v
        }


def test_a_row_says_by_which_terms_it_was_written() -> None:
    fields = row_of(key(0, "prod", "spent"), Cell(2, 1, {7: 2.5}), evidence({}, SHARE), TERMS)
    assert fields[:3] == ("2026-11-23T10:00:00.000Z", "2026-11-23T11:00:00.000Z", CONTRAST.id)
    assert fields[3:9] == (EPOCH, "prod", "exp", "prod", COMMITS[0], "a" * 32)
    assert (fields.share, fields.metric) == (repr(1 / 3), "spent")
    assert (fields.units, fields.events) == ("2", "1")
    assert json.loads(fields.sums) == {"values": {"7": 2.5}}
    said = json.loads(fields.terms)
    metric = said.pop("metric")
    assert (metric["name"], metric["window"], metric["kind"]) == ("spent", 90.5, "mean")
    assert said.pop("metrics") == []
    assert said == {
        "alpha": 0.025,
        "guardrail_alpha": 0.01,
        "adaptive": False,
        "salt": "salt",
        "kept": 128,
        "shadow": False,
        "baseline_fingerprint": "a" * 32,
        "candidate_fingerprint": "b" * 32,
        "baseline_commit": COMMITS[0],
        "candidate_commit": COMMITS[1],
    }
    of_units = row_of(key(0, "exp", EXPOSURE), Cell(), evidence({}, SHARE), TERMS)
    assert (of_units.commit, of_units.fingerprint) == (COMMITS[1], "b" * 32)
    terms = read(text_of(of_units)).terms
    assert (terms.metric, terms.metrics) == (None, TERMS.metrics)
    assert of_units.sums == "{}"


def test_a_shadow_has_no_share_and_names_all_metrics() -> None:
    given = evidence({}, {}, shadow=True)
    row = read(text_of(row_of(key(0, "exp", "paired:spent"), Cell(), given, TERMS)))
    assert (row.share, row.terms.shadow, row.terms.metrics) == (None, True, TERMS.metrics)


def test_a_cell_of_a_metric_that_is_not_measured_is_no_row() -> None:
    with pytest.raises(ValueError, match=r"must be among those measured. Given: 'paired:other'"):
        row_of(key(0, "exp", "paired:other"), Cell(), evidence({}, SHARE), TERMS)


GOOD = row_of(key(0, "exp", "bought"), Cell(3, 2, {1: 1.0}), evidence({}, SHARE), TERMS)


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ({"start": "yesterday"}, "Invalid isoformat string: 'yesterday'"),
        ({"start": "2026-11-23T10:00:00"}, "start: must be whole seconds in UTC"),
        ({"start": "2026-11-23T10:00:00.500Z"}, "start: must be whole seconds in UTC"),
        ({"end": GOOD.start}, "end: must be after the start"),
        ({"contrast": "0" * 12}, "contrast: must be the digest of what is compared"),
        ({"candidate": "exp..2"}, "not a git branch name: 'exp..2'"),
        ({"arm": "third"}, "arm: must be one of the two branches. Given: 'third'"),
        ({"metric": "spent"}, "metric: must be the one of the terms. Given: 'spent'"),
        ({"metric": EXPOSURE}, "metric: must be the one of the terms. Given: 'exposure'"),
        ({"share": "1"}, "share: must lie between 0 and 1"),
        ({"share": "nan"}, "share: must lie between 0 and 1"),
        ({"share": ""}, "could not convert string to float"),
        ({"units": "-1"}, "units, events and counts must not be negative"),
        ({"events": "many"}, "invalid literal for int"),
        ({"sums": '{"counts":{"1":-2}}'}, "units, events and counts must not be negative"),
        (
            {"sums": '{"values":{"256":1}}'},
            "sums: values must be numbers below 2**63 of buckets 0 to 255",
        ),
        ({"sums": '{"values":{"1":1e999}}'}, "out of range"),
        ({"sums": '{"tallies":{"late":1.5}}'}, "Expected `int`, got `float`"),
        ({"sums": "{"}, "truncated"),
        ({"sums": '{"values":{"1":1e300}}'}, "sums: values must be numbers below 2**63"),
        ({"units": "9" * 30}, "units, events and counts must not be negative, and below 2**63"),
        ({"sums": '{"other":' + "[" * 100_000}, "recursion"),
        ({"terms": "{}"}, "missing required field"),
        ({"terms": GOOD.terms.replace('"alpha":0.025', '"alpha":0')}, "Expected `float` > 0"),
        ({"terms": GOOD.terms.replace('"kept":128', '"kept":257')}, "Expected `int` <= 256"),
        (
            {"terms": GOOD.terms.replace('"planned_units":10000', '"planned_units":0')},
            "terms: bought must have planned_units of at least 1",
        ),
        (
            {"terms": GOOD.terms.replace('"margin":0.02', '"margin":-1')},
            "terms: bought must have planned_units of at least 1, and a margin of at least 0",
        ),
    ],
)
def test_what_is_no_row_is_named_and_passed_over(broken: dict[str, str], reason: str) -> None:
    parsed = parse_rows([("x/1.csv", text_of(GOOD, GOOD._replace(**broken), GOOD))])
    assert len(parsed.rows) == 2
    (bad,) = parsed.bad
    assert bad.where == "x/1.csv:3"
    assert reason in bad.reason


def test_a_torn_row_and_a_file_of_other_columns_are_named_and_passed_over() -> None:
    text = text_of(GOOD)
    torn = text + text.splitlines()[1][:60] + "\n"
    other = "ts,branch\n1,prod\n"
    huge = text + '"' + "9" * (csv.field_size_limit() + 1) + '"\n'
    parsed = parse_rows([("a", torn), ("b", other), ("c", ""), ("d", huge), ("e", text)])
    assert len(parsed.rows) == 3
    assert [bad.where for bad in parsed.bad] == ["a:3", "b:1", "c:1", "d:3"]
    assert "must have all columns. Not there: " in parsed.bad[0].reason
    assert "must name the columns. Not there: arm, baseline, " in parsed.bad[1].reason
    assert "field larger than field limit" in parsed.bad[3].reason


def test_a_name_may_have_any_letter_that_git_lets_it_have() -> None:
    """U+2028 ends a line for Python, and is an ordinary letter of a branch or of a CSV field."""
    contrast = replace(CONTRAST, candidate=Branch('a\u2028b,"c"'), salt="x\ny")
    given = replace(evidence({}, SHARE), contrast=contrast)
    where = key(0, contrast.candidate, EXPOSURE)._replace(contrast=contrast.id)
    row = read(text_of(row_of(where, Cell(1, 1), given, TERMS)))
    assert (row.key, row.contrast) == (where, contrast)


def test_columns_are_found_by_their_names() -> None:
    out = io.StringIO()
    writer = csv.DictWriter(out, [*reversed(Fields._fields), "added_later"])
    writer.writeheader()
    writer.writerow({**GOOD._asdict(), "added_later": "1"})
    assert read(out.getvalue()).cell == Cell(3, 2, {1: 1.0})


def test_keys_a_later_version_adds_to_the_json_are_no_reason_to_refuse_a_row() -> None:
    later = GOOD._replace(sums='{"values":{"1":1},"other":[]}', terms=GOOD.terms[:-1] + ',"x":1}')
    row = read(text_of(later))
    assert row.cell.values == {1: 1.0}
    assert row.key.start == START
