"""The page of `gateway report`: what it says, that it is whole by itself, and that it is safe."""

from __future__ import annotations

import html.parser
import json
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from driftdocs import HISTORY, document, history_of, people

from gateway.errors import GatewayError
from gateway.reporting.document import Drift, parse_drift
from gateway.reporting.history import History, parse_history
from gateway.reporting.page import featured, page

BEFORE = people(1, 3000, "before")
WRITTEN = 1795953600.0


class Read(html.parser.HTMLParser):
    """What a page holds: elements with their attributes, and its text."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(text for tag, text in self.texts if tag not in ("style", "title"))


def read(found: dict[str, Any]) -> Drift:
    return parse_drift(json.dumps(found).encode(), "here")


def written(found: dict[str, Any], history: History | None = None, **more: Any) -> Read:
    return Read(page(read(found), history or {}, written=WRITTEN, **more))


@pytest.fixture(scope="module")
def moved() -> dict[str, Any]:
    return document(BEFORE, people(2, 1500, "moved"), other=people(3, 1500))


@pytest.fixture(scope="module")
def weeks(moved: dict[str, Any]) -> str:
    calm = document(BEFORE, people(4, 500))
    return history_of([calm] * 6 + [{**moved, "commit": "9" * 40}] * 2)


def test_the_verdict_stands_on_top_in_words(moved: dict[str, Any]) -> None:
    found = written({**moved, "trouble": "why it stands still"})
    (heading,) = (place for place, (tag, _) in enumerate(found.texts) if tag == "h1")
    assert "Drift far beyond the tolerance: do not wait" in found.texts[heading][1]
    assert heading < 6
    for said in (
        "The model's whole world moved",
        "why it stands still",
        "2026-11-29 12:00 to 13:00 UTC",
        "1,500 rows, 1,500 users",
        "3,000 rows of training data, data/train.csv",
        "written 2026-11-29T12:00:00.000Z",
    ):
        assert said in found.text


def test_what_changed_most_is_drawn_then_and_now_and_over_the_windows(
    moved: dict[str, Any], weeks: str
) -> None:
    drift = read(moved)
    columns = {column.column for column in featured(drift)}
    assert columns == {"plan", "income", "tenure_months", "__prediction__"}
    history = parse_history(weeks, columns)
    found = written(moved, history)
    labels = [svg["aria-label"] for svg in found.all("svg")]
    plan = next(one for one in labels if one.startswith("Distribution of plan. Furthest apart: "))
    assert re.search(r"basic: 60% in the reference, 3\d% in the window$", plan)
    (over,) = (one for one in labels if one.startswith("PSI of plan"))
    assert "over 8 windows to 2026-11-28 08:00 UTC" in over
    psi = next(c["psi"] for c in moved["columns"] if c["column"] == "plan")
    assert over.endswith(f"now {psi:.3f}, at most {psi:.3f}")
    text = page(drift, history, written=WRITTEN)
    svg = text[text.index('aria-label="PSI of plan') :]
    svg = svg[: svg.index("</svg>")]
    assert svg.count('class="tick"') == 8
    assert svg.count('class="mark ok"') == 6
    assert svg.count('class="mark critical"') == 2
    assert "tolerance 0.050" in svg
    assert svg.count('class="change"') == 1
    assert "from here on commit 9999999999" in svg
    # Values that are missing show in no distribution.
    assert any("missing: 0% in the reference, " in one for one in labels)


def test_a_table_has_every_column_and_names_its_rows_and_columns(moved: dict[str, Any]) -> None:
    found = written(moved)
    scopes = [cell["scope"] for cell in found.all("th")]
    assert scopes == ["col"] * 10 + ["row"] * len(moved["columns"])
    rows = [text for tag, text in found.texts if tag == "span"]
    for name in ("plan", "prediction", "visits_per_week", "address"):
        assert name in rows
    assert "not measured: nested" in rows


def test_every_drawing_says_what_it_shows_and_headings_do_not_skip(
    moved: dict[str, Any], weeks: str
) -> None:
    found = written(moved, parse_history(weeks, {"plan", "income"}))
    svgs = found.all("svg")
    assert len(svgs) >= 20
    assert all(svg["role"] == "img" and len(svg["aria-label"]) > 10 for svg in svgs)
    levels = [int(tag[1]) for tag, _ in found.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    assert found.all("html") == [{"lang": "en"}]


def test_the_comparison_is_there_in_words_and_bars(moved: dict[str, Any]) -> None:
    found = written(moved)
    assert "The split is broken: users of this branch and of stable" in found.text
    assert any("on stable, " in svg["aria-label"] for svg in found.all("svg"))


@pytest.mark.parametrize("state", ["waiting", "collecting", "counting"])
def test_a_page_without_a_window_is_a_page(state: str) -> None:
    rules = {"alpha": 0.01, "p": None, "warn": 0.02, "alert": 0.05, "critical": 0.2}
    found = written({"branch": "prod", "state": state, "rules": {**rules, "least_rows": 100}})
    assert found.all("svg") == found.all("table") == []
    assert "below its share of the false alarms that are allowed, which keeps" in found.text


def test_no_history_is_said_and_why_where_there_is_a_reason(moved: dict[str, Any]) -> None:
    assert "No history yet" in written(moved).text
    found = written(moved, trouble="answered 502: remote away")
    assert "could not be read: answered 502: remote away" in found.text
    assert "No history yet" not in found.text


def test_a_calm_branch_shows_what_moved_most_and_300_columns_are_a_page() -> None:
    before = {f"c{place}": BEFORE["age"] for place in range(300)}
    found = written(document(before, dict.fromkeys(before, BEFORE["age"][:500])))
    assert "No column moved further than its tolerance." in found.text
    assert "What moved most, within its tolerance" in found.text
    assert len([cell for cell in found.all("th") if cell["scope"] == "row"]) == 300


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</title></style></svg><h1>owned</h1>",
    "{{ 7 * 191 }}{% raw %}",
    "' onmouseover='alert(1)",
    "\x00\x1b[31m\u202eevil\r\n",
    "]]><!--",
    "&lt;b&gt;",
]


def test_nothing_that_a_branch_can_name_becomes_markup() -> None:
    before = dict.fromkeys(HOSTILE, HOSTILE * 100)
    after = {name: [f"{text}!" for text in HOSTILE] * 50 for name in HOSTILE}
    found = document(before, after, other=before)
    found |= {"trouble": HOSTILE[0], "commit": '"><script>', "branch": HOSTILE[2]}
    found["reference"]["source"] = {"type": HOSTILE[1], "path": HOSTILE[0], "commit": HOSTILE[0]}
    found["between"]["with"] = HOSTILE[1]
    for column in found["columns"]:
        column["reason"] += f";{HOSTILE[0]}"
    weeks = history_of([{**found, "commit": letter + '"><script>'} for letter in "ab"])
    history = parse_history(weeks.replace("critical", HOSTILE[1].replace('"', "")), set(HOSTILE))
    parsed = written(found, history, trouble=HOSTILE[0])
    plain = written(document(BEFORE, people(2, 500, "moved"), other=people(3, 500)), history)
    calm = {tag for tag, _ in plain.elements} | {"dl", "path", "g"}
    assert {tag for tag, _ in parsed.elements} <= calm
    assert "script" not in calm
    assert "img" not in calm
    assert len(parsed.all("h1")) == 1
    names = {name for _, attributes in parsed.elements for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("src", "href")][1:]
    text = parsed.text
    assert "<script>alert(1)</script>" in text
    assert "{{ 7 * 191 }}{% raw %}" in text
    assert "&lt;b&gt;" in text
    assert "1337" not in text
    assert not re.search("[\x00\x1b\u202e]", page(read(found), history, written=WRITTEN))


def test_the_page_refers_to_nothing_outside_itself(moved: dict[str, Any], weeks: str) -> None:
    text = page(read(moved), parse_history(weeks, {"plan"}), written=WRITTEN)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)
    links = [
        value for _, a in Read(text).elements for n, value in a.items() if n in ("href", "src")
    ]
    assert links == ["data:,"]
    assert "default-src 'none'" in text


def test_history_keeps_the_windows_of_wanted_columns_in_order_and_no_comparison() -> None:
    rows = history_of([document(BEFORE, people(seed, 200)) for seed in range(3)]).splitlines()
    header, body = rows[0], rows[1:]
    beside = body[0].split(",")
    beside[HISTORY.index("column")] = "age"
    beside[HISTORY.index("reference_id")] = "branch:stable:ffff"
    text = "\n".join([header, *reversed(body), ",".join(beside)])
    history = parse_history(text, {"age"})
    assert history.keys() == {"age"}
    assert [point.start.hour for point in history["age"]] == [0, 1, 2]
    assert parse_history("", {"age"}) == parse_history(header, {"age"}) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ts,branch\n1,prod\n", "drift.csv: must have the columns of drift rows; missing: column,"),
        ("BAD", "drift.csv:2: "),
    ],
)
def test_what_is_no_history_is_named(text: str, said: str) -> None:
    if text == "BAD":
        row = ["x" if name.startswith("window") else "age" for name in HISTORY]
        text = ",".join(HISTORY) + "\n" + ",".join(row)
    with pytest.raises(GatewayError, match=re.escape(said)):
        parse_history(text, {"age"})


@pytest.mark.needs("chromium")
def test_a_browser_without_a_network_shows_all_of_it_and_complains_of_nothing(
    tmp_path: Path, moved: dict[str, Any], weeks: str
) -> None:
    file = tmp_path / "report.html"
    history = parse_history(weeks, {"plan", "income"})
    file.write_text(page(read(moved), history, written=WRITTEN))
    done = subprocess.run(
        [
            *(
                "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
            ),
            # Every name leads nowhere, and no address but this machine's files is left.
            *("--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=127.0.0.1:1"),
            f"--user-data-dir={tmp_path / 'profile'}",
            *("--enable-logging=stderr", "--v=0", "--virtual-time-budget=2000", "--dump-dom"),
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=True,
    )
    assert "CONSOLE" not in done.stderr, done.stderr
    shown = Read(re.sub(r"^<!DOCTYPE[^>]*>", "", done.stdout, flags=re.IGNORECASE))
    source = Read(file.read_text())
    # What the browser made of it is what was written: nothing was mended or left out.
    assert [tag for tag, _ in shown.elements] == [tag for tag, _ in source.elements]
    assert shown.text == source.text
    assert "The split is broken" in shown.text
