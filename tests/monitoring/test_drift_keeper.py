"""The keeper of drift: what is counted where, what closes, what is remembered, what is said."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from chunkfiles import FINGERPRINT, header, request, schema, write
from driftchunks import NAMES, Kept, Traffic, at, bring_reference, epoch, profile

from gateway.chunks import ChunkKey
from gateway.drift_metrics import _Said
from gateway.errors import StateError
from gateway.monitoring.segments import DRIFT_COLUMNS
from gateway.names import Branch
from gateway.reporting.document import parse_drift
from gateway.statistics.drift import of_reference
from gateway.statistics.reference import LATENCY, PREDICTION, SCORE, Profile, encode_profile

HOUR = 3600.0
SHIFTED = {"prod": [0.0, 0.45]}


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with Kept(tmp_path / "state", "prod", "dev") as one:
        bring_reference(one.state, profile())
        yield one


def verdicts(rows: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    return [(row["window_start"][11:13], row["column"], row["severity"]) for row in rows]


def severities(kept: Kept) -> dict[str, str]:
    """Of each column's last row."""
    return {row["column"]: row["severity"] for row in kept.written()}


def rows_of(kept: Kept, column: str) -> list[str]:
    return [row["n"] for row in kept.written() if row["column"] == column]


# What happens to chunks


def test_a_chunk_is_taken_once(kept: Kept) -> None:
    path = kept.traffic.chunk(0, 300)
    kept.take(path)
    kept.take(path)
    kept.chunk(700, 100)
    kept.close()
    assert rows_of(kept, "age") == ["400"]
    assert kept.status()["rows"] == {"prod": 400}


def test_what_the_store_refuses_changed_nothing_even_if_it_cannot_be_read_either(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, and then a locked file: the next round must find what is on the disk."""
    kept.chunk(0, 300)
    path = kept.traffic.chunk(700, 200)
    with monkeypatch.context() as patch:
        patch.setattr(kept.store, "remember", _refusing)
        patch.setattr(kept.store, "recall", _refusing)
        with pytest.raises(StateError):
            kept.take(path)
        with pytest.raises(StateError):
            kept.take(path)
    kept.take(path)
    with monkeypatch.context() as patch:
        patch.setattr(kept.store, "remember", _refusing)
        with pytest.raises(StateError):
            kept.close()
    assert kept.written() == []
    kept.close()
    assert rows_of(kept, "age") == ["500"]


def _refusing(*_: object, **__: object) -> Any:
    raise StateError("the store failed: disk full")


def test_a_memory_that_cannot_be_read_is_begun_anew_and_said(
    kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    kept.chunk(0, 300)
    (name,) = kept.store.recall("series")
    kept.store.remember({("series", name): b"of a later version"})
    kept.restart()
    kept.chunk(900, 300)
    kept.close()
    assert "begun anew" in caplog.text
    assert {row["n"] for row in kept.written()} == {"300"}
    assert kept.status()["rows"] == {"prod": 300}


def test_rows_of_a_chunk_that_was_passed_over_are_left_out_also_after_a_restart(kept: Kept) -> None:
    path = kept.traffic.chunk(0, 300)
    key = path.parent.name, int(path.stem)
    kept.drift.pass_over(ChunkKey(*key), 300)
    kept.restart()
    assert kept.status()["left_out_rows"] == 300
    assert not kept.drift.holds(ChunkKey(*key))


def test_of_sampled_rows_shares_are_right_and_the_rest_is_counted(kept: Kept) -> None:
    lines: list[Any] = [header(1, opened=at(0)), schema(list(NAMES), [0, 1])]
    rng = np.random.default_rng(8)
    for number in range(3000):
        fields = request(number, ts=at(0), unit=f"{number:016x}")
        fields |= {"rows": 2, "instances": rng.normal(size=(2, 2)).tolist()}
        fields |= {"predictions": [0, 0], "probabilities": [[0.4, 0.6]] * 2}
        # In the order in which the front writes them.
        first = ("t", "ts", "request_id", "status", "latency_ms", "rows", "unit")
        ordered = {name: fields.pop(name) for name in first} | fields
        lines.append(msgspec.json.encode(ordered) + b"\n")
    kept.take(write(kept.state / "journal", lines), every=3)
    status = kept.status()
    assert status["rows"]["prod"] + status["left_out_rows"] == 6000
    assert 1800 < status["rows"]["prod"] < 2200
    assert status["rows"]["prod"] % 2 == 0, "a request is counted whole or not at all"
    kept.close()
    assert {row["severity"] for row in kept.written() if row["column"] in NAMES} == {"ok"}


def test_an_invalid_line_and_rows_without_an_answer_cost_nothing_else(kept: Kept) -> None:
    lines: list[Any] = [header(1, opened=at(0)), schema(list(NAMES), [0, 1])]
    lines += [b"half a li\n", request(0, status="invalid", fingerprint="", ts=at(0))]
    lines += [request(0, status="error", predictions=None, probabilities=None, ts=at(0))]
    lines += [
        request(n, ts=at(n), instances=[[0.1, 0.2]], unit=f"{n:016x}", status="ok")
        for n in range(1, 301)
    ]
    lines[6:6] = [dict(lines[5], instances=None, request_id="x")]
    kept.take(write(kept.state / "journal", lines))
    kept.close()
    assert rows_of(kept, "age") == ["300"]
    assert kept.status()["rows"] == {"prod": 301}


# What closes, and what is remembered of it


def test_ranks_and_verdicts_survive_a_restart_and_decisions_are_only_of_changes(
    kept: Kept,
) -> None:
    for hour in range(5):
        kept.chunk(hour * HOUR, 1200, shift=SHIFTED if hour in (1, 2, 3) else None)
        kept.close((hour + 1) * HOUR)
        kept.restart()
    income = [row["severity"] for row in kept.written() if row["column"] == "income"]
    assert income == ["ok", "warn", "alert", "alert", "ok"]
    decisions = kept.written("decisions")
    told = [(json.loads(row["evidence"])["from"], row["decision"]) for row in decisions]
    assert told == [("ok", "drift"), ("warn", "drift"), ("alert", "drift")]
    assert [json.loads(row["evidence"])["to"] for row in decisions] == ["warn", "alert", "ok"]
    assert decisions[1]["ts"] == at(3 * HOUR)
    assert "income (alert)" in decisions[1]["reason"]


def test_a_window_of_too_few_rows_is_written_and_never_called_ok(kept: Kept) -> None:
    kept.settings = msgspec.structs.replace(
        kept.settings, drift=msgspec.structs.replace(kept.settings.drift, longest=7200.0)
    )
    kept.chunk(0, 60)
    kept.close(HOUR)
    assert kept.written() == []
    kept.close(2 * HOUR)
    rows = kept.written()
    assert {(row["severity"], row["partial"], row["n"]) for row in rows} == {
        ("insufficient", "1", "60")
    }
    assert {(row["window_start"], row["window_end"]) for row in rows} == {(at(0), at(2 * HOUR))}
    report = kept.report()
    assert (report["state"], report["severity"]) == ("measured", "insufficient")
    assert report["window"]["partial"]
    assert kept.written("decisions") == []


def test_a_window_that_was_made_longer_is_as_long_after_a_restart(kept: Kept) -> None:
    """Although its reference is another by now: rows of one window are counted by one."""
    kept.chunk(0, 60)
    kept.close(1.5 * HOUR)
    assert kept.report()["open"]["ends"] == at(2 * HOUR)
    kept.restart()
    assert kept.report()["open"]["ends"] == at(2 * HOUR)


def test_a_defect_in_one_window_is_said_and_holds_nothing_up(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bring_reference(kept.state, profile(), "1" * 32)
    kept.chunk(0, 300, fields={"fingerprint": "1" * 32})
    kept.chunk(700, 300, branches=("dev",))
    real = of_reference

    def broken(window: Any, rules: Any) -> Any:
        if window.rows == 300 and not broken.__dict__.setdefault("met", []):
            broken.__dict__["met"].append(window)
            raise RuntimeError("no verdict")
        return real(window, rules)

    monkeypatch.setattr("gateway.monitoring.drift.closing.of_reference", broken)
    with caplog.at_level(logging.ERROR):
        kept.close()
    assert "a window is left out of drift" in caplog.text
    assert {row["branch"] for row in kept.written()} == {"prod"}
    kept.close()
    assert {row["n"] for row in kept.written()} == {"300"}


def test_streams_that_nothing_needs_are_forgotten_with_their_profiles(kept: Kept) -> None:
    other = "1" * 32
    bring_reference(kept.state, profile({"age": [1.5] * 50, "income": [2.5] * 50}), other)
    kept.chunk(0, 300)
    kept.chunk(600, 300, fields={"fingerprint": other})
    kept.close(HOUR)
    assert len(kept.store.recall("profile")) == 2
    assert len(kept.store.recall("reference")) == 2
    week = 8 * 86400.0
    kept.chunk(week, 300, fields={"fingerprint": other})
    kept.close(week + HOUR)
    series = [name for name in kept.store.recall("series") if name.startswith("branch ")]
    assert series == [f"branch prod {other}"]
    assert list(kept.store.recall("reference")) == [f"branch prod {other}"]
    assert len(kept.store.recall("profile")) == 1
    kept.restart()
    assert kept.report()["fingerprint"] == other


def test_the_same_store_writes_the_same_rows_under_one_number(kept: Kept, tmp_path: Path) -> None:
    kept.chunk(0, 2400, branches=("prod", "dev"), shift=SHIFTED)
    found = []
    for name in ("one", "other"):
        with contextlib.closing(sqlite3.connect(kept.state / "store.sqlite")) as store:
            (tmp_path / name).mkdir()
            with contextlib.closing(sqlite3.connect(tmp_path / name / "store.sqlite")) as copy:
                store.backup(copy)
        with Kept(tmp_path / name, "prod", "dev") as again:
            again.close()
            keys = {(one.key, one.branch) for one in again.store.outgoing()}
            segments = [s for key, branch in keys for s in again.store.segments(key, branch)]
            found.append(sorted((s.path, s.content) for s in segments))
    assert found[0] == found[1]
    paths = [path.split("/") for path, _ in found[0]]
    assert len({path[-1] for path in paths}) == 1
    assert {path[3] for path in paths} == {"2026-11-23"}
    assert sorted((path[1], path[2]) for path in paths) == [
        *[("decisions", "dev"), ("decisions", "prod")],
        *[("drift", "dev"), ("drift", "prod")],
    ]


# All kinds of input


def wide(columns: Mapping[str, list[Any]], rows: int) -> list[list[Any]]:
    return [[values[row % len(values)] for values in columns.values()] for row in range(rows)]


def served(
    kept: Kept, reference: Profile, columns: Mapping[str, list[Any]], rows: int = 400
) -> dict[str, dict[str, str]]:
    """Rows of these columns beside that reference; the written rows by column."""
    (kept.state / "snapshots" / FINGERPRINT / "metrics/reference.json").unlink()
    (kept.state / "snapshots" / FINGERPRINT / "metrics").rmdir()
    bring_reference(kept.state, reference)
    lines: list[Any] = [header(1, opened=at(0)), schema(list(columns), [0, 1])]
    lines += [
        request(n, ts=at(n), unit=f"{n:016x}", instances=[row])
        for n, row in enumerate(wide(columns, rows))
    ]
    kept.take(write(kept.state / "journal", lines))
    kept.close()
    return {row["column"]: row for row in kept.written()}


def test_columns_of_every_kind_get_a_verdict_or_a_reason(kept: Kept) -> None:
    columns: dict[str, list[Any]] = {
        "number": [float(value) for value in np.random.default_rng(1).normal(size=400)],
        "missing": [1.5, None, 2.5, 3.5],
        "bool": [True, False],
        "date": [f"2026-11-{day:02}T00:00:00Z" for day in range(1, 29)],
        "constant": [7],
        "text": ["a", "b", "é"],
        "nested": [{"deep": [1]}, [2]],
        "empty": [None],
        "huge": [1e308, -1e308, 1.5],
    }
    bins = {name: [values[n % len(values)] for n in range(400)] for name, values in columns.items()}
    found = served(kept, profile(bins), columns)
    assert list(found) == list(columns), "in the reference's order"
    skipped = {name: row["reason"] for name, row in found.items() if row["kind"] == "skipped"}
    assert skipped == {"nested": "nested", "empty": "empty"}
    others = {row["severity"] for name, row in found.items() if name not in skipped}
    assert others == {"ok"}
    assert found["constant"]["p_tolerance"] == "1"
    assert all(row["mean"] not in ("inf", "nan", "-inf") for row in found.values())
    report = kept.report()
    parse_drift(json.dumps(report).encode(), "here")
    assert [column["column"] for column in report["columns"]] == list(columns)


def test_a_column_that_changed_its_type_is_invalid_and_no_other_is_touched(kept: Kept) -> None:
    before: dict[str, list[Any]] = {"a": [float(n) for n in range(400)], "b": ["x", "y"] * 200}
    found = served(kept, profile(before), {"a": [str(n) for n in range(400)], "b": ["x", "y"]})
    assert (found["a"]["severity"], found["a"]["reason"]) == ("warn", "invalid")
    assert found["a"]["invalid_rate"] == "1"
    assert found["b"]["severity"] == "ok"


def test_a_category_of_a_million_values_takes_bounded_memory(kept: Kept) -> None:
    rng = np.random.default_rng(1)
    ids = [f"user-{n}" for n in rng.integers(10**6, size=4000)]
    more = [f"user-{n}" for n in rng.integers(10**6, size=4000)]
    found = served(kept, profile({"id": ids}), {"id": more}, rows=4000)
    assert found["id"]["severity"] == "ok"
    column = kept.report()["columns"][0]
    assert len(column["labels"]) == len(column["current"]) == 102
    assert len(column["new"]) <= 20
    assert sum(map(len, kept.store.recall("series").values())) < 100_000


def test_three_hundred_columns(kept: Kept) -> None:
    rng = np.random.default_rng(1)
    columns = {f"c{n:03}": rng.normal(size=400).tolist() for n in range(300)}
    found = served(kept, profile(columns), columns)
    assert len(found) == 300
    assert {row["severity"] for row in found.values()} == {"ok"}
    status = kept.status()["branches"]["prod"]
    assert status["counts"]["ok"] == 300
    assert len(status["columns"]) == 50


# Whose rows count where


def pairs(kept: Kept) -> dict[tuple[str, str], dict[str, str]]:
    rows = [row for row in kept.written() if row["column"].startswith("vs:")]
    return {(row["branch"], row["column"]): row for row in rows}


def of_a_request(number: int, branch: str, **changes: Any) -> dict[str, Any]:
    fields = {"ts": at(number), "unit": f"{number:016x}", "instances": [[0.1, 0.2]], **changes}
    return request(number, branch, **fields)


def chunk_of(kept: Kept, requests: list[dict[str, Any]], arms: tuple[str, ...]) -> None:
    lines: list[Any] = [header(1, opened=at(0)), schema(list(NAMES), [0, 1]), epoch(*arms)]
    kept.take(write(kept.state / "journal", lines + requests))
    kept.close()


def test_shadows_and_excluded_rows_count_for_their_branch_alone_and_overrides_for_none(
    kept: Kept,
) -> None:
    requests = [of_a_request(n, "prod") for n in range(300)]
    requests += [of_a_request(n, "dev") for n in range(300, 600)]
    for reason in ("shadow", "override", "excluded"):
        requests += [
            of_a_request(
                n + 600, "dev", reason=reason, assigned="prod" if reason == "shadow" else "dev"
            )
            for n in range(100)
        ]
    chunk_of(kept, requests, ("prod", "dev"))
    alone = {row["branch"]: row["n"] for row in kept.written() if row["column"] == "age"}
    assert alone == {"prod": "300", "dev": "500"}
    assert pairs(kept)["dev", "vs:prod:age"]["n"] == "300"
    assert pairs(kept)["dev", "vs:prod:age"]["n_ref"] == "300"


def test_a_fallback_counts_for_who_answered_and_is_compared_as_who_was_assigned(
    kept: Kept,
) -> None:
    """And its answer, which is not the arm's, is compared as nobody's."""
    requests = [of_a_request(n, "prod") for n in range(300)]
    requests += [of_a_request(n, "dev") for n in range(300, 500)]
    requests += [
        of_a_request(n, "prod", assigned="dev", status="fallback_timeout") for n in range(500, 600)
    ]
    failed = {"predictions": None, "probabilities": None}
    requests += [of_a_request(n, "dev", status="error", **failed) for n in range(600, 650)]
    bring_reference(kept.state, profile(), "1" * 32)
    columns: dict[str, list[Any]] = {
        "age": [0.1] * 300,
        "income": [0.2] * 300,
        PREDICTION: ["1"] * 300,
    }
    (kept.state / "snapshots" / FINGERPRINT / "metrics/reference.json").write_bytes(
        encode_profile(profile(columns))
    )
    chunk_of(kept, requests, ("prod", "dev"))
    alone = {(row["branch"], row["column"]): row["n"] for row in kept.written()}
    assert (alone["prod", "age"], alone["prod", PREDICTION]) == ("400", "400")
    assert (alone["dev", "age"], alone["dev", PREDICTION]) == ("200", "200")
    found = pairs(kept)
    assert found["dev", "vs:prod:age"]["n"] == "350"
    assert found["dev", f"vs:prod:{PREDICTION}"]["n"] == "200"
    assert found["dev", f"vs:prod:{PREDICTION}"]["n_ref"] == "300"


def test_rows_without_a_unit_are_in_the_split_each_its_own_unit(kept: Kept) -> None:
    requests = [
        of_a_request(n, ("prod", "dev")[n % 2], reason="no_unit", unit=None) for n in range(600)
    ]
    chunk_of(kept, requests, ("prod", "dev"))
    assert pairs(kept)["dev", "vs:prod:age"]["n"] == "300"
    assert kept.report("dev")["between"]["window"]["units"] == 300


def test_one_arm_alone_is_compared_with_nobody(kept: Kept) -> None:
    chunk_of(kept, [of_a_request(n, "prod") for n in range(300)], ("prod",))
    assert pairs(kept) == {}
    assert severities(kept).keys() == set(NAMES)


def test_an_arm_that_got_no_row_is_said_to_have_none(kept: Kept) -> None:
    chunk_of(kept, [of_a_request(n, "prod") for n in range(300)], ("prod", "dev"))
    row = pairs(kept)["dev", "vs:prod:age"]
    assert (row["n"], row["n_ref"], row["severity"]) == ("0", "300", "insufficient")
    assert (row["reason"], row["partial"]) == ("not_recorded", "1")


def test_a_comparison_names_the_other_branchs_content(kept: Kept) -> None:
    requests = [of_a_request(n, ("prod", "dev")[n % 2]) for n in range(600)]
    chunk_of(kept, requests, ("prod", "dev"))
    kept.restart()
    reference = pairs(kept)["dev", "vs:prod:age"]["reference_id"]
    assert reference.startswith(f"branch:prod:{FINGERPRINT}:")


def test_two_writers_in_a_window_are_counted_as_two(kept: Kept) -> None:
    kept.chunk(0, 300)
    kept.take(Traffic(kept.state / "journal", writer="ffffffff", seed=9).chunk(5, 300))
    kept.close()
    assert {(row["n"], row["replicas"]) for row in kept.written()} == {("600", "2")}
    assert kept.report()["window"]["writers"] == 2


def test_rows_of_one_user_are_no_news_of_each_other(kept: Kept) -> None:
    """What alarms when everybody came once is a chance when a few came a hundred times."""
    requests = [
        of_a_request(n, "prod", instances=[[0.0, 0.9 + (n % 4) / 100]], unit=f"{n % 4:016x}")
        for n in range(400)
    ]
    chunk_of(kept, requests, ("prod",))
    assert kept.report()["window"]["units"] == 4
    assert severities(kept)["income"] == "ok"


# What readers see


def test_readers_understand_all_that_the_monitor_really_writes(kept: Kept) -> None:
    """In every state, and nothing of it is left unread."""
    seen = [kept.report()]
    kept.chunk(0, 2400, branches=("prod", "dev"), shift=SHIFTED)
    seen += [kept.report(), kept.report("dev")]
    kept.close(HOUR)
    kept.chunk(HOUR, 10)
    seen += [kept.report(), kept.report("dev")]
    bare = "2" * 32
    bring_reference(kept.state, None, bare)
    kept.chunk(2 * HOUR, 10, fields={"fingerprint": bare})
    seen.append(kept.report())
    states = []
    for report in seen:
        read = parse_drift(json.dumps(report, allow_nan=False).encode(), "here")
        states.append(read.state)
        _same(report, msgspec.to_builtins(read))
    assert states == ["waiting", *["counting"] * 2, *["measured"] * 2, "collecting"]
    assert seen[4]["between"]["with"] == "prod"
    status = kept.status()
    said = msgspec.convert(json.loads(json.dumps(status, allow_nan=False)), _Said)
    assert (set(said.branches), set(said.rows)) == ({"dev"}, {"prod", "dev"})
    _same({k: v for k, v in status.items() if k != "trouble"}, msgspec.to_builtins(said))
    assert said.branches["dev"].p == pytest.approx(0.01 / 2)


def _same(written: Any, read: Any) -> None:
    """Every key that is written is read, and every key that is read was written."""
    if isinstance(written, dict) and isinstance(read, dict):
        assert written.keys() == read.keys()
        for key in written:
            _same(written[key], read[key])
    elif isinstance(written, list | tuple) and isinstance(read, list | tuple):
        assert len(written) == len(read)
        for one, other in zip(written, read, strict=True):
            _same(one, other)


def test_the_report_is_of_the_last_window_and_its_columns_are_the_rows(kept: Kept) -> None:
    kept.chunk(0, 1200, shift=SHIFTED)
    kept.close()
    report, rows = kept.report(), kept.written()
    assert list(rows[0]) == list(DRIFT_COLUMNS)
    for column, row in zip(report["columns"], rows, strict=True):
        for name in ("column", "kind", "severity", "reason"):
            assert column[name] == row[name]
        for name in ("psi", "ks", "chi2", "p_tolerance", "mean_shift_sd", "psi_null"):
            assert f"{column[name]:.6g}" == row[name]
        assert sum(column["current"]) == pytest.approx(1, abs=1e-4)
        assert len(column["labels"]) == len(column["current"]) == len(column["reference"])
    rules = {"alpha": 0.01, "p": 0.005, "warn": 0.02, "alert": 0.05, "critical": 0.2}
    assert report["rules"] == pytest.approx({**rules, "least_rows": 100})
    assert (report["severity"], report["drifted"]) == ("warn", False)
    assert (report["commit"], report["fingerprint"]) == ("c" * 40, FINGERPRINT)


def test_why_drift_stands_still_is_in_every_document(kept: Kept) -> None:
    kept.drift.show(kept.settings, "rows wait for a reference: prod is away")
    text = (kept.state / "drift" / "dev.json").read_text()
    assert json.loads(text)["trouble"] == "rows wait for a reference: prod is away"
    assert kept.report("dev")["trouble"] is None


def test_a_document_is_written_when_it_changed_and_only_then(kept: Kept) -> None:
    kept.chunk(0, 300)
    kept.close()
    kept.report()
    path = kept.state / "drift" / "prod.json"
    before = path.stat().st_mtime_ns, path.stat().st_ino
    kept.report()
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before
    kept.chunk(2 * HOUR, 5)
    assert kept.report()["open"]["rows"] == 5
    assert path.stat().st_ino != before[1] or path.stat().st_mtime_ns != before[0]


def test_names_of_values_are_withheld_where_they_are_to_be(tmp_path: Path) -> None:
    with Kept(tmp_path / "state", drift={"new_categories": False}) as kept:
        bring_reference(kept.state, None)
        for hour in range(2):
            fields = {"instances": [[f"secret-{hour}", 1.0]]}
            kept.chunk(hour * HOUR, 5000, fields=fields)
        kept.close()
        report = kept.report()
        assert report["columns"][0]["kind"] == "categorical"
        assert report["columns"][0]["labels"] == ["value 1", "(other)", "(new)"]
        assert "secret" not in json.dumps(report)
        assert report["columns"][0]["new_category_rate"] == 1.0


def test_an_older_epochs_comparison_does_not_take_the_place_of_a_newer_one(kept: Kept) -> None:
    arms = ("prod", "dev")
    old, new = "f" * 12, "0" * 12
    lines: list[Any] = [header(1, opened=at(0)), schema(list(NAMES), [0, 1])]
    lines += [epoch(*arms, name=name) for name in (old, new)]
    lines += [of_a_request(n, arms[n % 2], epoch=old) for n in range(600)]
    hour = int(HOUR)
    lines += [of_a_request(n, arms[n % 2], epoch=new) for n in range(hour, hour + 800)]
    kept.take(write(kept.state / "journal", lines))
    kept.close()
    assert kept.report("dev")["between"]["window"]["rows"] == 400


def test_branches_with_a_slash_have_their_own_document_and_folder(tmp_path: Path) -> None:
    with Kept(tmp_path / "state", "team/exp") as kept:
        bring_reference(kept.state, profile())
        kept.chunk(0, 300, branches=("team/exp",))
        kept.close()
        assert kept.report("team/exp")["branch"] == "team/exp"
        assert [one.path.split("/")[:3] for one in kept.store.outgoing()] == [
            ["monitoring", "drift", "team~exp"]
        ]
        assert Branch("team/exp") in kept.drift._book.newest


def test_derived_columns_of_a_profile_are_made_of_answers(kept: Kept) -> None:
    columns: dict[str, list[Any]] = {
        "age": [0.1] * 400,
        "income": [0.2] * 400,
        PREDICTION: ["1"] * 400,
    }
    columns |= {SCORE: [0.75] * 400, LATENCY: [1.25] * 400}
    (kept.state / "snapshots" / FINGERPRINT / "metrics/reference.json").write_bytes(
        encode_profile(profile(columns))
    )
    chunk_of(kept, [of_a_request(n, "prod") for n in range(300)], ("prod",))
    assert severities(kept) == dict.fromkeys(columns, "ok")
    assert {row["n"] for row in kept.written()} == {"300"}
