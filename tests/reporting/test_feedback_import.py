"""`gateway feedback import`: a file of any size, a gateway that is slow to take it, and repeats."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.chunks import Chunk, Outcome
from gateway.cli import main
from gateway.names import RequestId
from gateway.reporting import feedback_command
from gateway.reporting.outcome_rows import OutcomeFile

NOWHERE = "00000000-0000-7000-8000-000000000000"


class Taking(ThreadingHTTPServer):
    """Takes items as a gateway does, after as many other answers as it is told to give first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.first: list[tuple[int, dict[str, str]]] = []
        self.most_items = 10**6
        #: What it answers in place of all else.
        self.odd: Any = None
        self.batches: list[list[Any]] = []
        self.hold = threading.Event()
        self.hold.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def items(self) -> list[Any]:
        return [item for batch in self.batches for item in batch]


class _Handler(BaseHTTPRequestHandler):
    server: Taking

    def do_POST(self) -> None:
        if self.server.odd is not None:
            self._answer(200, {}, self.server.odd)
            return
        items = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["items"]
        server = self.server
        if server.first:
            self._answer(*server.first.pop(0))
        elif len(items) > server.most_items:
            self._answer(413, {})
        else:
            server.batches.append(items)
            server.hold.wait(120)
            told = [{"request_id": None, "row": 0, "metric": None, **_told(one)} for one in items]
            self._answer(202, {}, {"items": told})

    def _answer(self, status: int, headers: dict[str, str], body: Any = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        said = body or {"error": {"message": f"no, {status}"}}
        with contextlib.suppress(ConnectionError):  # of a caller that was interrupted
            self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_: Any) -> None:
        pass


def _told(item: Any) -> dict[str, str]:
    if item.get("value") == "bad":
        return {"status": "invalid", "reason": "value: must be a number"}
    return {"status": "late" if item.get("value") == -1 else "accepted"}


@pytest.fixture
def taking() -> Iterator[Taking]:
    with Taking() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.hold.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What it would have slept."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def table(folder: Path, text: str, name: str = "outcomes.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def run(path: Path, url: str, *more: str) -> Result:
    return CliRunner().invoke(main, ["feedback", "import", str(path), "--url", url, *more])


def test_a_file_goes_to_a_real_gateway_and_what_is_wrong_beside_it(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 1}},
        monitoring={"flush": "1h", "target": "none"},
    )
    gateways.append(gateway)
    gateway.start()
    asked = gateway.predict(((1,),) * 4).json()["request_id"]
    late = str(RequestId.build(time.time_ns() // 1_000_000 - 90_000_000, 1))
    lines = ["request_id,row,metric,value,label,ts,model\n"]
    lines += [f"{asked},{row % 4},reward,{row}.5,,,m1\n" for row in range(1100)]
    lines += [f"{asked},0,accuracy,,prod,2026-11-23T10:00:00Z,m1\n", f"{asked},,accuracy,,7,,\n"]
    lines += [f"{late},0.0,reward,1,,,\n", f"{asked},0,revenue,1,,,\n", 'x,0,reward,"a,b",,,m2\n']
    path = table(tmp_path, "".join(lines))
    config = tmp_path / "gateway.yaml"
    listen = gateway.url.removeprefix("http://")
    config.write_text(json.dumps({**gateway.settings, "listen": listen}))
    command = [sys.executable, "-m", "gateway", "feedback", "import"]
    command += [str(path), "--config", str(config)]

    for times in (1, 2):  # to send it again is safe
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1, done.stderr
        assert done.stderr == "columns that are not read: model\n"
        said, where = done.stdout.splitlines()
        assert said.startswith("1,105 rows: 1,102 accepted, 1 late, 2 invalid (")
        assert where == f"the invalid ones are in {tmp_path}/outcomes.rejected.csv, with the reason"
        with (tmp_path / "outcomes.rejected.csv").open(newline="") as file:
            first, second = csv.DictReader(file)
        assert (first["request_id"], first["metric"]) == (asked, "revenue")
        assert first["reason"].startswith("metric: must be one of accuracy, reward. Given: ")
        assert (second["value"], second["model"]) == ("a,b", "m2")
        assert second["reason"].startswith("request_id: must be the request_id of an answer")
        assert gateway.metric('gateway_feedback_items_total{status="accepted"}') == 1102 * times

    (chunk,) = (gateway.folder / ".gateway" / "journal").glob("*/*.open")
    with Chunk(chunk, sealed=False) as read:
        found = [record for record in read if isinstance(record, Outcome)]
    assert len(found) == 2 * 1103
    assert [(one.row, one.value) for one in found[:1100]] == [
        (row % 4, row + 0.5) for row in range(1100)
    ]
    assert [(one.label, one.sent) for one in found[1100:1102]] == [
        ('"prod"', "2026-11-23T10:00:00.000Z"),
        ("7", None),
    ]
    assert [one.request_id for one in found if one.late] == [late, late]


@pytest.mark.parametrize(
    ("column", "text", "sent"),
    [
        ("value", "1", 1),
        ("value", "True", True),
        ("value", "false", False),
        ("value", " .5 ", 0.5),
        ("value", "1e3", 1000),
        ("value", "nan", "nan"),
        ("value", "inf", "inf"),
        ("value", "1e999", "1e999"),
        ("value", "1_0", "1_0"),
        ("value", "ten", "ten"),
        ("label", "setosa", "setosa"),
        ("label", "1", 1),
        ("label", '"1"', "1"),
        ("label", "True", True),
        ("label", '{"a": [1]}', {"a": [1]}),
        ("label", "NaN", "NaN"),
        ("label", "[1", "[1"),
        ("row", "2", 2),
        ("row", "2.0", 2),
        ("row", "two", "two"),
        ("ts", " 2026-11-23T10:00:00Z ", "2026-11-23T10:00:00Z"),
        ("ts", "  ", None),
    ],
)
def test_what_a_field_says_is_told_from_its_text(
    tmp_path: Path, column: str, text: str, sent: Any
) -> None:
    quoted = text.replace('"', '""')
    value = "" if column == "value" else ",value"
    path = table(tmp_path, f'request_id,{column}{value}\nx,"{quoted}"\n')
    with OutcomeFile(path, "m") as rows:
        (row,) = rows
    item = json.loads(row.item)
    expected = {"request_id": "x", "metric": "m"} | ({} if sent is None else {column: sent})
    assert item == expected
    assert type(item.get(column)) is type(sent) or sent == 1000 or sent == 1


def test_a_row_that_cannot_be_sent_is_rejected_alone_and_can_be_mended(
    tmp_path: Path, taking: Taking
) -> None:
    path = tmp_path / "o.csv"
    path.write_bytes(b"\xef\xbb\xbfvalue,request_id\n1,a\n\n2,b,c\n3,\xff\nbad,d\n-1,e\n")
    done = run(path, taking.url, "--metric", "m")
    assert done.exit_code == 1
    assert done.stdout.startswith("5 rows: 1 accepted, 1 late, 3 invalid (")
    rejected = tmp_path / "o.rejected.csv"
    assert rejected.read_bytes().splitlines() == [
        b"value,request_id,reason",
        b'2,b,c,"has 3 fields, and the first line 2"',
        b"3,\xff,is not UTF-8",
        b"bad,d,value: must be a number",
    ]
    # Mended, the file is imported as it is: the reasons of before are no column of it.
    rejected.write_text("value,request_id,reason\n2,b,mended\nbad,d,value: must be a number\n")
    again = run(rejected, taking.url, "--metric", "m")
    assert again.stdout.startswith("2 rows: 1 accepted, 0 late, 1 invalid (")
    assert "not read" not in again.output
    assert (tmp_path / "o.rejected.rejected.csv").read_text().splitlines() == [
        "value,request_id,reason",
        "bad,d,value: must be a number",
    ]


@pytest.mark.parametrize("depth", [65, 900, 5000])
def test_a_label_that_is_nested_too_deeply_spoils_no_batch(tmp_path: Path, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    with OutcomeFile(table(tmp_path, f"request_id,label\nr,{deep}\nr,x\n"), "m") as rows:
        first, second = rows
    assert (first.item, second.reason) == (b"", "")
    assert first.reason == "label: must be nested at most 64 levels deep"


def test_rows_that_cannot_be_kept_for_mending_end_the_import(
    tmp_path: Path, taking: Taking
) -> None:
    path = table(tmp_path, "request_id,metric,value\nr,m,bad\n")
    (tmp_path / "outcomes.rejected.csv").mkdir()
    done = run(path, taking.url)
    assert done.exit_code == 2
    assert done.stderr == (f"{tmp_path}/outcomes.rejected.csv: cannot be written: Is a directory\n")


def test_batches_are_small_and_smaller_where_the_gateway_wants_it(
    tmp_path: Path, taking: Taking
) -> None:
    rows = 1201
    text = "request_id,metric,value\n" + "".join(f"r{row},m,{row}\n" for row in range(rows))
    done = run(table(tmp_path, text), taking.url)
    assert done.exit_code == 0
    assert done.stdout.startswith("1,201 rows: 1,201 accepted, 0 late, 0 invalid (")
    assert not (tmp_path / "outcomes.rejected.csv").exists()
    assert [len(batch) for batch in taking.batches] == [500, 500, 201]
    assert [item["request_id"] for item in taking.items] == [f"r{row}" for row in range(rows)]

    # By size, too: a label may take 4 KiB.
    taking.batches.clear()
    label = "x" * 4000
    text = "request_id,metric,label\n" + f"r,m,{label}\n" * 100
    assert run(table(tmp_path, text), taking.url).exit_code == 0
    assert max(len(json.dumps(batch)) for batch in taking.batches) < 300_000

    taking.batches.clear()
    taking.most_items = 30
    assert run(table(tmp_path, text), taking.url).exit_code == 0
    assert (len(taking.items), max(map(len, taking.batches)) <= 30) == (100, True)

    taking.most_items = 0
    refused = run(table(tmp_path, "request_id,metric,value\nr,m,1\n"), taking.url)
    assert refused.exit_code == 1
    assert "answered 413: no, 413" in (tmp_path / "outcomes.rejected.csv").read_text()


def test_a_gateway_that_cannot_take_them_now_is_asked_again(
    tmp_path: Path, taking: Taking, waits: list[float]
) -> None:
    path = table(tmp_path, "request_id,metric,value\nr,m,1\n")
    taking.first = [(503, {"Retry-After": "5"}), (502, {}), (503, {"Retry-After": "9999"})]
    done = run(path, taking.url)
    assert done.exit_code == 0
    assert waits == [5.0, 1.0, 30.0]
    assert f"{taking.url}/feedback: answered 503: no, 503; tried again in 5 s" in done.stderr
    assert len(taking.items) == 1

    taking.first = [(400, {})]  # waiting helps nothing here
    refused = run(path, taking.url)
    assert (refused.exit_code, len(waits)) == (2, 3)
    assert refused.stderr == f"{taking.url}/feedback: answered 400: no, 400\n"

    waits.clear()
    taking.first = [(503, {})] * (len(feedback_command.WAITS) + 1)
    assert run(path, taking.url).exit_code == 2
    assert waits == list(feedback_command.WAITS)
    assert len(taking.items) == 1


def test_a_gateway_that_is_not_there_is_named_after_some_tries(
    tmp_path: Path, taking: Taking, waits: list[float]
) -> None:
    path = table(tmp_path, "request_id,metric,value\nr,m,1\n")
    nobody = "http://127.0.0.1:1"
    done = run(path, nobody)
    assert (done.exit_code, waits) == (2, list(feedback_command.WAITS))
    assert done.stderr.splitlines()[-1].startswith(
        f"{nobody}/feedback: no gateway answers: Connection refused. Is it running there?"
    )
    assert run(path, "file:///etc").exit_code == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ":1: the first line must name the columns, separated by commas. Missing: request_id,"),
        ("request_id;metric;value\n", "Missing: request_id, metric (or give --metric), value or l"),
        ("request_id,value\n", "Missing: metric (or give --metric). Given: request_id, value"),
        ("request_id,metric\n", "Missing: value or label. Given: request_id, metric"),
        ("request_id,metric,value,value\n", ":1: the column value stands twice"),
        ("request_id,metric,value\nr,m,1\nr,m," + "x" * 17 * 1024**2, ":3: is no CSV: field larg"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_with_the_line(
    tmp_path: Path, taking: Taking, text: str, words: str
) -> None:
    done = run(table(tmp_path, text), taking.url)
    assert done.exit_code == 2
    assert words in done.stderr
    assert str(tmp_path / "outcomes.csv") in done.stderr


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        (
            {"items": [{"request_id": None, "row": 0, "metric": "m", "status": "late"}]},
            "was sent 2",
        ),
        ({"items": [{"status": "splendid"}] * 2}, "its JSON is no such answer: "),
        ("hello", "its JSON is no such answer: Expected `object`, got `str`"),
    ],
)
def test_what_answers_otherwise_than_a_gateway_is_named(
    tmp_path: Path, taking: Taking, odd: Any, words: str
) -> None:
    taking.odd = odd
    done = run(table(tmp_path, "request_id,metric,value\nr,m,1\ns,m,1\n"), taking.url)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{taking.url}/feedback: {words}")


def test_a_metric_is_said_once(tmp_path: Path, taking: Taking) -> None:
    path = table(tmp_path, "request_id,metric,value\nr,m,1\n")
    twice = run(path, taking.url, "--metric", "m")
    assert (twice.exit_code, "so --metric says it twice" in twice.stderr) == (2, True)
    gone = run(tmp_path / "gone.csv", taking.url)
    assert (gone.exit_code, "cannot be read: No such file" in gone.stderr) == (2, True)
    assert taking.batches == []


def test_an_interrupted_import_says_how_far_it_was_and_that_it_may_be_repeated(
    tmp_path: Path, taking: Taking
) -> None:
    text = "request_id,metric,value\n" + "r,m,1\n" * 600
    taking.hold.clear()
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gateway", "feedback", "import", table(tmp_path, text)),
            *("--url", taking.url),
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: taking.batches)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=90)
    assert process.returncode == 130
    assert "interrupted: to send the whole file again is safe" in said
    assert "Traceback" not in said


def test_progress_is_a_line_now_and_then_in_a_log_and_one_that_changes_on_a_terminal(
    tmp_path: Path, taking: Taking, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "request_id,metric,value\n" + "r,m,1\n" * 1500
    path = table(tmp_path, text)
    quiet = run(path, taking.url)
    assert quiet.stderr == ""
    monkeypatch.setattr(feedback_command, "_LOGGED", 0.0)
    first, _, last = run(path, taking.url).stderr.splitlines()
    assert "%  500 rows: 500 accepted, 0 late, 0 invalid (" in first
    assert last.startswith("100%  1,500 rows: 1,500 accepted")

    taking.batches.clear()
    taking.hold.clear()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gateway", "feedback", "import", str(path)]
    with subprocess.Popen([*command, "--url", taking.url], stderr=theirs) as process:
        os.close(theirs)
        wait_until(lambda: taking.batches)
        since = time.monotonic()
        wait_until(lambda: time.monotonic() > since + feedback_command._REDRAWN)
        taking.hold.set()
        assert process.wait(90) == 0
    said = ""
    with contextlib.suppress(OSError):  # which is how it ends
        while part := os.read(ours, 65536):
            said += part.decode()
    os.close(ours)
    assert said.startswith("\r\x1b[K")
    assert "%  500 rows: " in said
    assert said.endswith("\r\x1b[K")  # for the last word to stand alone
