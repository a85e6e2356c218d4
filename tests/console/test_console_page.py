"""The console as HTTP answers it: escaped, under a strict policy, and in nobody's way."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from gitrepo import Remote
from running import Gateway, serve_py
from waiting import wait_until

from gateway.console.page import CSP
from gateway.console.static import Static

STATIC = Path(__file__).parents[2] / "gateway" / "console" / "static"
EVIL = "<script>alert(1)</script>"
NASTY = f"exp/{EVIL.replace('</', '<')}"
CARD = json.dumps({EVIL: 0.5, "accuracy": 0.75, "note": EVIL})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("console")
    remote = Remote(folder / "project.git")
    remote.commit("prod", {**serve_py("prod"), "metrics/model.json": CARD}, f"Serve {EVIL}")
    remote.commit(NASTY, serve_py("nasty"), f"Try {EVIL}")
    found = Gateway(folder / "g", remote, {"prod": {"weight": 60}, NASTY: {"weight": 40}})
    yield found.start()
    found.kill()


def snapshot(gateway: Gateway) -> dict[str, Any]:
    found: dict[str, Any] = gateway.get("/console/snapshot").json()
    return found


def test_the_page_is_html_under_a_policy_that_allows_nothing_inline(gateway: Gateway) -> None:
    answer = gateway.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == CSP
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "unsafe" not in CSP
    assert not re.search(r"<script(?![^>]*\ssrc=)", answer.text)
    assert not re.search(r"\s(style|on[a-z]+)=", answer.text)
    assert not re.search(r"(src|href)=\"(https?:)?//", answer.text)


def test_what_comes_from_a_branch_is_escaped_wherever_it_stands(gateway: Gateway) -> None:
    text = gateway.get("/").text
    assert "<script>alert" not in text
    assert "exp/&lt;script&gt;alert(1)&lt;script&gt;" in text
    assert "Serve &lt;script&gt;alert(1)&lt;/script&gt;, Ada" in text
    for path in ("snapshot", "timeline", "traffic", "intervals"):
        answer = gateway.get(f"/console/{path}")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"


def test_branches_are_shown_with_their_commit_and_its_author(gateway: Gateway) -> None:
    prod, nasty = snapshot(gateway)["branches"]
    assert (prod["name"], prod["word"], prod["share"]) == ("prod", "serving", 0.6)
    assert prod["serving"]["author"] == "Ada"
    assert prod["serving"]["subject"] == f"Serve {EVIL}"
    assert ["accuracy", 0.75] in prod["figures"]
    assert nasty["name"] == NASTY
    assert gateway.branch("prod")["serving"]["subject"] == f"Serve {EVIL}"


def test_requests_become_figures_of_now(gateway: Gateway) -> None:
    def asked() -> bool:
        gateway.predict([[1]], "ada")
        found = snapshot(gateway)
        return bool(
            found["now"]["requests"] and sum(r[0] for r in found["second"]["branches"].values())
        )

    wait_until(asked)
    history = gateway.get("/console/traffic").json()
    assert set(history["branches"]) == {"prod", NASTY}
    wait_until(
        lambda: any(
            sum(one["requests"]) > 0
            for one in gateway.get("/console/traffic").json()["branches"].values()
        )
    )


def test_a_user_is_explained_as_predictions_are_answered(gateway: Gateway) -> None:
    for unit in ("ada", "user with blanks", "<b>ü</b>", "a" * 1000):
        found = httpx.get(f"{gateway.url}/console/explain", params={"unit": unit}).json()
        assert found["unit"] == unit
        assert {arm["branch"] for arm in found["arms"]} == {"prod", NASTY}
        assert any(found["branch"] in sentence for sentence in found["sentences"])
        if unit.isascii():
            assert gateway.predict([[1]], unit).json()["branch"] == found["branch"]


def test_the_raw_unit_is_nowhere_but_in_the_answer(gateway: Gateway) -> None:
    secret = "a-user-nobody-may-know"
    answer = httpx.get(f"{gateway.url}/console/explain", params={"unit": secret})
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["recorded"]["unit"] != secret
    files = [path for path in gateway.folder.rglob("*") if path.is_file()]
    assert any(path.name == "timeline.json" for path in files)
    assert not [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/console/explain", 400, "must be the id of a user"),
        ("/console/explain?unit=", 400, "Given: 0 characters"),
        (f"/console/explain?unit={'a' * 1001}", 400, "Given: 1001 characters"),
        ("/console/timeline?after=-1", 400, "must be the number of an event"),
        ("/console/timeline?after=%D9%A1", 400, "must be the number of an event"),
        ("/console/static/nothing.js", 404, "no such file"),
        ("/console/static/", 404, "no such file"),
        ("/console/static/../page.py", 404, ""),
        ("/console/static/..%2fpage.py", 404, "no such file"),
        ("/console/static//etc/passwd", 404, "no such file"),
    ],
)
def test_what_cannot_be_answered_is_said(
    gateway: Gateway, path: str, status: int, said: str
) -> None:
    answer = gateway.get(path)
    assert answer.status_code == status
    assert said in answer.json()["error"]["message"]


def test_every_file_is_served_by_name_and_not_sent_twice(gateway: Gateway) -> None:
    for name, file in Static().table.items():
        answer = gateway.get(f"/console/static/{name}")
        assert (answer.status_code, answer.content) == (200, file.content)
        assert answer.headers["cache-control"] == "no-cache"
        again = httpx.get(
            f"{gateway.url}/console/static/{name}",
            headers={"If-None-Match": f'"old", W/{answer.headers["etag"]}'},
        )
        assert (again.status_code, again.content) == (304, b"")
    assert gateway.get("/console/static/console.js").headers["content-type"].startswith("text/java")


def test_events_of_the_time_line_are_told_from_a_number_on(gateway: Gateway) -> None:
    events = gateway.get("/console/timeline").json()["events"]
    assert [one["word"] for one in events[:1]] == ["started"]
    assert {one["branch"] for one in events if one["word"] == "serving"} == {"prod", NASTY}
    number = events[1]["number"]
    later = gateway.get(f"/console/timeline?after={number}").json()["events"]
    assert later[0]["number"] == number + 1


def test_a_gateway_whose_pages_are_open_ends_as_quickly_and_in_order(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    found = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(found)
    found.start()
    got = b""
    with httpx.stream("GET", f"{found.url}/console/events", timeout=30) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for part in stream.iter_bytes():
            got += part
            if got.count(b"event: snapshot") == 2 and found.process is not None:
                found.process.terminate()
        # It ended whole, by itself: a stream cut off would raise.
    assert found.process is not None
    # Sooner than the time after which uvicorn would cut it off.
    assert found.process.wait(25) == 0
    data = got.rpartition(b"data: ")[2]
    assert json.loads(data)["baseline"] == "prod"


def test_what_others_wrote_is_as_they_published_it() -> None:
    lines = (STATIC / "vendor" / "SHA256SUMS").read_text().splitlines()
    said = {path: digest for digest, path in (line.split() for line in lines)}
    there = {
        str(path.relative_to(STATIC)): sha256(path.read_bytes()).hexdigest()
        for path in (STATIC / "vendor").rglob("*")
        if path.is_file() and path.name != "SHA256SUMS"
    }
    assert said == there
    for folder in (STATIC / "vendor").iterdir():
        assert folder.is_file() or (folder / "LICENSE").is_file()


def test_no_module_of_ours_parses_html_or_runs_text() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|https?://(?!www\.w3\.org)"
    for path in [*STATIC.glob("*.js"), *STATIC.glob("*.css")]:
        assert not re.search(forbidden, path.read_text()), path.name


def test_a_built_wheel_holds_the_page_and_its_files(tmp_path: Path) -> None:
    root = STATIC.parents[2]
    built = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, root],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert "gateway/console/templates/page.html" in names
    assert {f"gateway/console/static/{name}" for name in Static().table} <= names
