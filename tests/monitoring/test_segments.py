"""From a chunk's bytes to the bytes in git, as people and tools read them."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from chunkfiles import (
    EPOCH,
    FINGERPRINT,
    OPENED,
    WRITER,
    decision,
    header,
    log_line,
    request,
    schema,
    write,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.chunks import Chunk
from gateway.monitoring.segments import PREDICTION_COLUMNS, Contents, contents_of

PATH = f"2026-11-23/100000Z-{WRITER}-1"


def made_of(lines: list[Any], folder: Path | None = None) -> Contents:
    with (
        tempfile.TemporaryDirectory() as spare,
        Chunk(write(folder or Path(spare), lines)) as chunk,
    ):
        return contents_of(chunk)


def files(contents: Contents) -> dict[str, str]:
    return {segment.path: segment.content.decode() for segment in contents.segments}


def predictions(contents: Contents, branch: str = "prod") -> list[dict[str, str]]:
    text = files(contents)[f"monitoring/predictions/{branch}/{PATH}.csv"]
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_chunk_becomes_exactly_these_files() -> None:
    lines = [
        header(),
        schema(["age", "name"], [0, 1]),
        request(1),
        request(2, "feature/x", assigned="prod", status="fallback_error"),
        decision(reason='said "no",\nthen\r\nleft'),
        log_line("dev", message="é\n"),
    ]
    row = f"{'c' * 40},{FINGERPRINT},prod,split,ab0123456789cdef,0.9,{EPOCH}"
    head = "ts,request_id,row,branch,commit,fingerprint,assigned,reason,unit,propensity,epoch,"
    head += "status,latency_ms,prediction,score,weight,features\n"
    features = '"{""age"":1.5,""name"":""x""}"'
    assert files(made_of(lines)) == {
        f"monitoring/predictions/prod/{PATH}.csv": (
            f"{head}{OPENED},019aaaaa-0000-7000-8000-000000000001,0,prod,{row},"
            f"ok,1.25,1,0.75,1.0,{features}\n"
        ),
        f"monitoring/predictions/feature~x/{PATH}.csv": (
            f"{head}{OPENED},019aaaaa-0000-7000-8000-000000000002,0,feature/x,{row},"
            f"fallback_error,1.25,1,0.75,1.0,{features}\n"
        ),
        f"monitoring/decisions/prod/{PATH}.csv": (
            "ts,branch,commit,decision,reason,evidence\n"
            f'{OPENED},prod,{"c" * 40},serving,"said ""no"",\nthen\r\nleft",'
            '"{""seconds"":1.5}"\n'
        ),
        f"logs/dev/{PATH}.jsonl": (
            f'{{"ts":"{OPENED}","branch":"dev","commit":"{"c" * 40}","level":"warning",'
            '"logger":"model","message":"é\\n","request_id":null}\n'
        ),
    }


def test_another_process_makes_the_same_bytes(tmp_path: Path) -> None:
    """With another hash seed, so that no order hangs on one."""
    lines: list[Any] = [header(sample_rows=7), schema(["a", "b"], ["x", "y"])]
    for number in range(60):
        branch = ("prod", "dev", "test/1")[number % 3]
        lines += [request(number, branch, status="ok" if number % 7 else "error")]
        lines += [log_line(branch), b"broken\n"]
    path = write(tmp_path, lines)
    program = (
        "import sys, pathlib, hashlib\n"
        "from gateway.chunks import Chunk\n"
        "from gateway.monitoring.segments import contents_of\n"
        "with Chunk(pathlib.Path(sys.argv[1])) as chunk:\n"
        "    for s in contents_of(chunk).segments:\n"
        "        print(s.path, hashlib.sha256(s.content).hexdigest())\n"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program, str(path)],
            check=True,
            capture_output=True,
            env={"PYTHONHASHSEED": seed, "LC_ALL": "C", "TZ": "Asia/Tokyo"},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
    assert said.pop().count(b"\n") == 6


def test_rows_that_are_not_ok_are_all_kept_and_the_rest_is_weighted() -> None:
    lines = [header(sample_rows=10)]
    lines += [request(number, rows=2, predictions=[0, 1]) for number in range(100)]
    lines += [request(200 + n, status="fallback_timeout") for n in range(30)]
    lines += [request(300 + n, status="timeout", predictions=None, rows=3) for n in range(5)]
    contents = made_of(lines)
    rows = predictions(contents)
    by_status: dict[str, list[float]] = {}
    for row in rows:
        by_status.setdefault(row["status"], []).append(float(row["weight"]))
    assert by_status == {
        "ok": [20.0] * 10,
        "fallback_timeout": [1.0] * 30,
        "timeout": [1.0] * 15,
    }
    assert contents.counts == {
        (EPOCH, "prod", "prod", "ok"): 200,
        (EPOCH, "prod", "prod", "fallback_timeout"): 30,
        (EPOCH, "prod", "prod", "timeout"): 15,
    }


def test_the_rows_of_a_shadow_are_sampled_whatever_became_of_them() -> None:
    """It may fail for every user: git is not to grow with that."""
    lines = [header(sample_rows=10)]
    shadow: dict[str, Any] = {"branch": "dev", "reason": "shadow"}
    lines += [request(number, **shadow) for number in range(50)]
    lines += [request(50 + n, status="error", predictions=None, **shadow) for n in range(150)]
    lines += [request(number) for number in range(200)]
    contents = made_of(lines)
    rows = predictions(contents, "dev")
    assert [row["weight"] for row in rows] == ["20.0"] * 10
    assert {row["status"] for row in rows} == {"ok", "error"}
    # The same requests are kept of the branch that answered them, so that rows pair up.
    kept = {row["request_id"] for row in rows}
    assert kept == {row["request_id"] for row in predictions(contents)}
    assert contents.counts[EPOCH, "dev", "dev", "error"] == 150


@pytest.mark.parametrize(
    ("columns", "instance", "features"),
    [
        (["a", "b"], [1, None], {"a": 1, "b": None}),
        (["a", "b"], {"b": 2, "more": 3, "a": 1}, {"a": 1, "b": 2}),
        (["a", "b"], {"b": 2}, {"b": 2}),
        (["a", "b"], [1, 2, 3], {"0": 1, "1": 2, "2": 3}),
        (None, [1, {"x": [2]}], {"0": 1, "1": {"x": [2]}}),
        (None, {"z": 1, "a": 2}, {"z": 1, "a": 2}),
        (None, "text", {"0": "text"}),
    ],
)
def test_features_are_keyed_by_the_models_columns(
    columns: list[str] | None, instance: Any, features: dict[str, Any]
) -> None:
    row = predictions(made_of([header(), schema(columns), request(1, instances=[instance])]))[0]
    assert row["features"] == json.dumps(features, separators=(",", ":"))


def test_long_numbers_keep_their_digits() -> None:
    line = json.dumps(request(1)).replace("[[1.5,", "[[12345678901234567890123 , 1.10,")
    rows = predictions(made_of([header(), line.encode() + b"\n"]))
    assert rows[0]["features"].startswith('{"0":12345678901234567890123,"1":1.10,')


@pytest.mark.parametrize(
    ("changes", "normalised", "features"),
    [
        ({"features": "journal"}, False, ""),
        ({"features": "none"}, False, ""),
        ({"redact": ["name"]}, False, ""),
        ({"redact": ["name"]}, True, '{"age":1}'),
    ],
)
def test_what_is_not_to_be_in_git_is_not_there(
    changes: dict[str, Any], normalised: bool, features: str
) -> None:
    sent = request(1, instances=[{"age": 1, "name": "Ada"}], normalised=normalised)
    assert predictions(made_of([header(**changes), sent]))[0]["features"] == features
    assert "Ada" not in "".join(files(made_of([header(**changes), sent])).values())


@pytest.mark.parametrize(
    ("classes", "prediction", "probabilities", "score"),
    [
        ([0, 1], 0, [0.9, 0.1], "0.1"),
        (None, 0, [0.9, 0.1], "0.1"),
        (["a", "b", "c"], "c", [0.2, 0.3, 0.5], "0.5"),
        (["a", "b", "c"], "d", [0.2, 0.3, 0.5], ""),
        ([0, 1], 1, [0, 1], "1.0"),
        ([0, 1], 1, [0.5, None], ""),
        (None, [1, 2], [[0.1, 0.9], [0.2, 0.8]], ""),
    ],
)
def test_score_is_of_the_second_class_of_two_else_of_the_predicted_one(
    classes: Any, prediction: Any, probabilities: Any, score: str
) -> None:
    asked = request(1, predictions=[prediction], probabilities=[probabilities])
    assert predictions(made_of([header(), schema(None, classes), asked]))[0]["score"] == score


@pytest.mark.parametrize(
    ("prediction", "written"),
    [(0, "0"), (False, "false"), ([], "[]"), ("", '""'), ([1, "a"], '[1,"a"]'), (None, "")],
)
def test_answers_that_are_falsy_are_answers(prediction: Any, written: str) -> None:
    rows = predictions(made_of([header(), request(1, predictions=[prediction])]))
    assert rows[0]["prediction"] == written


def test_bad_lines_are_reported_on_every_branch_of_the_chunk() -> None:
    lines = [header(), request(1), b"broken\n", decision("dev"), b'{"t":"log"}\n']
    contents = made_of(lines)
    assert contents.bad_lines == 2
    for branch in ("prod", "dev"):
        said = [
            json.loads(line)
            for line in files(contents)[f"logs/{branch}/{PATH}.jsonl"].split("\n")[:-1]
        ]
        assert [line["level"] for line in said] == ["error", "error"]
        assert f"{WRITER}/00000001.jsonl:3" in said[0]["message"]
        assert f"{WRITER}/00000001.jsonl:5" in said[1]["message"]
    assert len(predictions(contents)) == 1


def test_a_chunk_without_rows_makes_no_segment() -> None:
    assert made_of([header(), schema(["a"])]).segments == ()


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | texts
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(
        st.tuples(values, st.dictionaries(texts, values, max_size=3), texts), min_size=1, max_size=4
    )
)
def test_any_value_comes_back_through_csv_pandas_and_duckdb(
    rows: list[tuple[Any, dict[str, Any], str]],
) -> None:
    lines: list[Any] = [header()]
    for number, (prediction, instance, reason) in enumerate(rows):
        lines += [request(number, predictions=[prediction], instances=[instance])]
        lines += [decision(reason=f"why: {reason}")]
    contents = made_of(lines)
    with tempfile.TemporaryDirectory() as folder:
        by_kind = {}
        for segment in contents.segments:
            by_kind[segment.kind] = Path(folder) / segment.kind
            by_kind[segment.kind].write_bytes(segment.content)
        read = {
            "csv": _by_csv(by_kind["predictions"], by_kind["decisions"]),
            "pandas": _by_pandas(by_kind["predictions"], by_kind["decisions"]),
            "duckdb": _by_duckdb(by_kind["predictions"], by_kind["decisions"]),
        }
    for tool, (answered, features, reasons) in read.items():
        assert [json.loads(text) if text else None for text in answered] == [r[0] for r in rows], (
            tool
        )
        assert [json.loads(text) for text in features] == [r[1] for r in rows], tool
        assert reasons == [f"why: {r[2]}" for r in rows], tool


def query(text: str) -> duckdb.DuckDBPyRelation:
    found = duckdb.sql(text)
    assert found is not None
    return found


Read = tuple[list[str], list[str], list[str]]


def _by_csv(made: Path, decided: Path) -> Read:
    with (
        made.open(newline="", encoding="utf-8") as file,
        decided.open(newline="", encoding="utf-8") as more,
    ):
        rows, decisions = list(csv.DictReader(file)), list(csv.DictReader(more))
    return (
        [row["prediction"] for row in rows],
        [row["features"] for row in rows],
        [row["reason"] for row in decisions],
    )


def _by_pandas(made: Path, decided: Path) -> Read:
    frame = pd.read_csv(made, dtype=str, keep_default_na=False)
    decisions = pd.read_csv(decided, dtype=str, keep_default_na=False)
    return list(frame["prediction"]), list(frame["features"]), list(decisions["reason"])


def _by_duckdb(made: Path, decided: Path) -> Read:
    rows = query(
        f"select prediction, features from read_csv('{made}', all_varchar=true)"
    ).fetchall()
    reasons = query(f"select reason from read_csv('{decided}', all_varchar=true)").fetchall()
    return [row[0] for row in rows], [row[1] for row in rows], [row[0] for row in reasons]


def many_segments(folder: Path, count: int) -> None:
    """As months leave them: some with only failures, weights whole and not, a NaN answered."""
    for chunk in range(1, count + 1):
        lines: list[Any] = [
            header(chunk, sample_rows=4 if chunk % 3 else "all"),
            schema(["a", "b"]),
        ]
        lines += [request(chunk * 100 + n, propensity=1) for n in range(5 if chunk % 10 else 0)]
        lines += [request(chunk * 100 + 9, status="timeout", predictions=None, probabilities=None)]
        if chunk % 50 == 0:
            lines += [request(chunk * 100 + 10, predictions=[None], unit=None)]
        with Chunk(write(folder / "journal", lines)) as opened:
            for segment in contents_of(opened).segments:
                path = folder / segment.path
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(segment.content)


def test_a_thousand_segments_are_one_duckdb_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_segments(tmp_path, 1000)
    monkeypatch.chdir(tmp_path)
    found = query("from 'monitoring/predictions/**/*.csv'")
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    assert found.columns == list(PREDICTION_COLUMNS)
    assert types["ts"] == "TIMESTAMP WITH TIME ZONE"
    assert [types[name] for name in ("row", "latency_ms", "prediction", "score", "weight")] == [
        "BIGINT",
        "DOUBLE",
        "BIGINT",
        "DOUBLE",
        "DOUBLE",
    ]
    assert [types[name] for name in ("request_id", "commit", "features")] == ["VARCHAR"] * 3
    answered = found.filter("status = 'ok'").aggregate("sum(weight), count(distinct request_id)")
    total, requests = answered.fetchall()[0]
    assert total == pytest.approx(900 * 5 + 20)
    assert requests < 900 * 5


def test_one_pandas_line_reads_them_too(tmp_path: Path) -> None:
    many_segments(tmp_path, 30)
    found = pd.concat(map(pd.read_csv, sorted(tmp_path.glob("monitoring/predictions/**/*.csv"))))
    assert list(found.columns) == list(PREDICTION_COLUMNS)
    numbers = found[["row", "propensity", "latency_ms", "score", "weight"]]
    assert [kind.kind for kind in numbers.dtypes] == ["i", "f", "f", "f", "f"]
    assert found.loc[found["status"] == "ok", "weight"].sum() == pytest.approx(27 * 5)
