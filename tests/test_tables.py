"""Files of rows as columns of JSON-like values, the same from a CSV as from Parquet."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from gateway.tables import Columns, TableError, open_table


def read(path: Path, names: Sequence[str] | None = None) -> Columns:
    table = open_table(path)
    names = table.names if names is None else names
    whole: Columns = {name: [] for name in names}
    for batch in table.batches(names, lambda _share: None):
        assert list(batch) == list(names)
        for name, values in batch.items():
            whole[name] += values
    return whole


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "data.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("fields", "values"),
    [
        (["1", "-2", "007"], [1, -2, 7]),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (["True", "false", "TRUE"], [True, False, True]),
        (["1", "x"], ["1", "x"]),
        (["1", "True"], ["1", "True"]),
        (["True", "1"], ["True", "1"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["a", '"b, ""c"""', "ü"], ["a", 'b, "c"', "ü"]),
        (["NA", "NaN", "nan", "null", "None", "N/A", '""'], [None] * 7),
        (["1", "NA", "2"], [1, None, 2]),
        (["1.5", "", "inf"], [1.5, None, math.inf]),
        (["True", "NA"], [True, None]),
        (["none", "x"], ["none", "x"]),
        (["2021-03-01", "2021-03-02"], ["2021-03-01", "2021-03-02"]),
    ],
)
def test_a_column_of_a_csv_is_read_as_what_all_its_fields_are(
    tmp_path: Path, fields: list[str], values: list[Any]
) -> None:
    # A second column, so that an empty field is no empty line.
    rows = "".join(f"{field},0\n" for field in fields)
    given = read(written(tmp_path, f"x,y\n{rows}"))["x"]
    assert given == values
    assert [type(one) for one in given] == [type(one) for one in values]


@pytest.mark.parametrize(
    ("early", "late", "kind"),
    [("1", "x", str), ("True", "1", str), ("1", "True", str), ("1", "2.5", float), ("", "1", int)],
)
def test_a_field_far_down_decides_with_the_others(
    tmp_path: Path, early: str, late: str, kind: type
) -> None:
    rows = [f"{early},0"] * 20_000 + [f"{late},0"] * 2
    given = read(written(tmp_path, "x,y\n" + "\n".join(rows)))["x"]
    assert len(given) == 20_002
    assert {type(one) for one in given if one is not None} == {kind}


def test_names_choose_columns_in_their_order(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeffa,b,c\r\n1,x,2\r\n\r\n3,y,4\r\n")
    assert open_table(path).names == ("a", "b", "c")
    assert list(read(path, ["c", "a"]).items()) == [("c", [2, 4]), ("a", [1, 3])]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "data.csv, line 1: is empty: its first line must name the columns"),
        ("a,b,a\n", "data.csv, line 1: column 'a' stands there twice"),
        ("a,b\n1,2\n3\n", "data.csv, line 3: must have 2 fields, as the first line. Given: 1"),
        ('a,b\n"1\n1",2\n3,4,5\n', "data.csv, line 4: must have 2 fields, as the first line"),
        (b"a,b\n1,2\n3,\xff\n", "data.csv, line 3: must be UTF-8. Given: byte 0xff"),
        (b"a\n" + b"1\n" * 9_999 + b"\xe4\n", "data.csv, line 10001: must be UTF-8."),
        ('a,b\n1,"2"x\n', "data.csv, line 2: ',' expected after '\"'"),
        ('a,b\n1,"2\n', "data.csv, line 2: unexpected end of data"),
        ("a,b\n1," + "2" * 200_000, "data.csv, line 2: field larger than field limit"),
        (b"PAR1 and no more", "data.csv: cannot be read: "),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(TableError) as raised:
        read(written(tmp_path, text))
    assert str(tmp_path / said) in str(raised.value)


def test_a_file_that_is_away_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"away\.csv: cannot be read: No such file"):
        open_table(tmp_path / "away.csv")
    with pytest.raises(TableError, match="cannot be read: Is a directory"):
        open_table(tmp_path)


def test_progress_rises_to_the_end(tmp_path: Path) -> None:
    path = written(tmp_path, "x\n" + "1234567\n" * 40_000)
    parquet = tmp_path / "data.parquet"
    duckdb.sql(f"COPY (FROM range(40000)) TO '{parquet}' (FORMAT parquet)")
    for file in (path, parquet):
        told: list[float] = []
        table = open_table(file)
        for _ in table.batches(table.names, told.append):
            pass
        assert told == sorted(told)
        assert len(told) > 3
        assert (0 < told[0] < 0.5, told[-1]) == (True, 1.0)


def test_parquet_gives_the_same_kinds_of_values(tmp_path: Path) -> None:
    path = tmp_path / "no-suffix"
    duckdb.sql(
        f"""COPY (SELECT * FROM (VALUES
        (1, 0.5::DOUBLE, 'x', true, 1.25::DECIMAL(9, 2), DATE '2021-03-01',
         TIMESTAMP '2021-03-01 12:00:00', [1, 2], {{'k': 1}}),
        (NULL, 'nan'::DOUBLE, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
        ) AS t(a, "b ""b", c, d, e, f, g, h, i)) TO '{path}' (FORMAT parquet)"""
    )
    table = open_table(path)
    assert table.names == ("a", 'b "b', "c", "d", "e", "f", "g", "h", "i")
    columns = read(path)
    assert math.isnan(columns.pop('b "b')[1])
    assert columns == {
        "a": [1, None],
        "c": ["x", None],
        "d": [True, None],
        "e": [1.25, None],
        "f": ["2021-03-01", None],
        "g": ["2021-03-01T12:00:00", None],
        "h": [[1, 2], None],
        "i": [{"k": 1}, None],
    }


def test_parquet_without_duckdb_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(TableError, match=r"pip install 'branch-gateway\[parquet\]'"):
        open_table(written(tmp_path, b"PAR1..."))


def test_a_csv_needs_neither_pandas_nor_duckdb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("duckdb", "pandas"):
        monkeypatch.setitem(sys.modules, name, None)
    assert read(written(tmp_path, "x\n1\n")) == {"x": [1]}
