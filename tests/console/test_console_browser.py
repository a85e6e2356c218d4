"""The console in a real browser, beside a real gateway with users: what people see is true."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from gitrepo import Remote, git
from observing import free_address
from running import Gateway, serve_py
from waiting import wait_until

from gateway.demo.repository import CHALLENGER, PROD, build_repository
from gateway.demo.traffic import Labelled, rows_of

pytest.importorskip("playwright")

from axe_playwright_python.sync_playwright import Axe
from browsing import Seen, chromium
from playwright.sync_api import Browser

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.timeout(1200)]

EVIL = "<img/src=x/onerror=alert(1)>"
NASTY = f"exp/{EVIL.replace('/', '-')}"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
#: Of the demonstration, where nobody is to be late.
PATIENT = {"timeout": "30s"}
#: Breaks at a row that says so, and stays broken.
SULKING = """
def load(root):
    return {"broken": False}
def predict(model, instances):
    model["broken"] |= any(row[0] == 13 for row in instances)
    if model["broken"]:
        raise RuntimeError("<b>thirteen</b>")
    return ["sulking" for _ in instances]
"""
GOLDEN = json.dumps({"instances": [[1]], "predictions": ["sulking"]})


class Users:
    """People of the demonstration, who ask and tell until they are stopped."""

    def __init__(self, url: str, rows: list[Labelled]) -> None:
        self._url, self._rows = url, rows
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._live)

    def __enter__(self) -> Users:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _live(self) -> None:
        chance = random.Random(5)
        told: list[dict[str, Any]] = []
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._over.wait(0.01):
                row, label = chance.choice(self._rows)
                # So far that it is critical in windows of few rows, too, as slow machines have.
                moved = {**row, "mean texture": row["mean texture"] * 2.5}
                user = {"X-User-Id": f"user-{chance.randrange(10**6)}"}
                with contextlib.suppress(httpx.TransportError):
                    answer = client.post("/predict", json={"instances": [moved]}, headers=user)
                    identity = answer.json().get("request_id")
                    told.append({"request_id": identity, "metric": "accuracy", "label": label})
                    if len(told) == 50:
                        client.post("/feedback", json={"items": told})
                        told = []


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Remote]]:
    folder = tmp_path_factory.mktemp("demo")
    remote = Remote(folder / "project.git")
    built = build_repository(folder)
    git(remote.path, "fetch", "--quiet", str(built), "+refs/heads/*:refs/heads/*")
    gateway = Gateway(
        folder / "g",
        remote,
        {PROD: {"weight": 60, **PATIENT}, CHALLENGER: {"weight": 40, **PATIENT}},
        drift={"window": "4s", "min_rows": 100},
        metrics={"accuracy": {"kind": "ratio", "role": "primary", "window": "2s"}},
    )
    with Users(gateway.start().url, rows_of(built)):
        yield gateway, remote
    gateway.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def see(browser: Browser) -> Iterator[Callable[..., Seen]]:
    with contextlib.ExitStack() as opened:

        def one(url: str, **context: Any) -> Seen:
            seen = Seen(browser, url, **context)
            opened.callback(seen.close)
            return seen

        yield one


def filled(seen: Seen) -> None:
    """Until each panel shows what it is there for."""
    seen.wait("#glance-health .big")
    seen.wait("#glance-split .shares b", "60")
    seen.wait("#glance-change .big")
    seen.wait("#glance-better .chip")
    seen.wait(f'tr[data-branch="{PROD}"] .commit', "scaled logistic regression")
    seen.wait(f'tr[data-branch="{CHALLENGER}"] .commit', "Mira Castellan")
    seen.wait(f'tr[data-branch="{PROD}"] .figures', "accuracy")
    seen.wait("#traffic .plot canvas")
    seen.wait("#experiment .metrics th", "accuracy")
    seen.wait("#experiment .plot canvas")
    seen.wait("#drift .columns svg")
    seen.wait("#drift .columns .chip", "critical")
    seen.wait("#timeline .events", "serves a new commit")
    seen.wait("#pushes td .hash")


def test_every_panel_is_filled_and_the_browser_has_nothing_to_complain_of(
    demo: tuple[Gateway, Remote], see: Callable[..., Seen]
) -> None:
    seen = see(demo[0].url)
    page = seen.open()
    filled(seen)
    page.locator("#unit").fill("ada")
    page.keyboard.press("Enter")
    seen.wait("#explain-body .won")
    said = demo[0].get("/console/explain?unit=ada").json()["branch"]
    assert page.locator("#explain-body .won").inner_text().strip() == said
    page.locator("#traffic-figures summary").click()
    seen.wait("#traffic-figures td")
    for name in ("Trouble", "Pushes", "Changes"):
        page.get_by_role("button", name=name, exact=True).click()
    page.get_by_role("button", name="Show all").click()
    assert page.locator("#drift .columns > li").count() > 25
    assert seen.complaints == []
    assert seen.hosts == {demo[0].url.removeprefix("http://")}


@pytest.mark.parametrize(
    "context",
    [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"color_scheme": "light", **PHONE}],
    ids=["light", "dark", "phone"],
)
def test_axe_finds_nothing_serious_and_nothing_runs_over_the_edge(
    demo: tuple[Gateway, Remote], see: Callable[..., Seen], context: dict[str, Any]
) -> None:
    seen = see(demo[0].url, **context)
    page = seen.open()
    filled(seen)
    page.locator("#unit").fill("ada")
    page.keyboard.press("Enter")
    seen.wait("#explain-body .won")
    page.locator("#traffic-figures summary").click()
    found = Axe().run(page).response["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=1)[:4000]
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_the_keyboard_reaches_everything_that_can_be_used(
    demo: tuple[Gateway, Remote], see: Callable[..., Seen]
) -> None:
    seen = see(demo[0].url)
    page = seen.open()
    filled(seen)
    usable = "a[href], button, input, summary, [tabindex='0']"
    mark = """selector => [...document.querySelectorAll(selector)]
        .filter((one) => one.checkVisibility())
        .forEach((one, number) => { one.dataset.number ??= String(number); })"""
    page.evaluate(mark, usable)
    wanted = set(
        page.evaluate(
            "[...document.querySelectorAll('[data-number]')].map((one) => one.dataset.number)"
        )
    )
    page.evaluate("document.activeElement.blur()")
    reached: set[str] = set()
    for _ in range(len(wanted) + 30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.dataset.number ?? ''"))
    # What was drawn anew meanwhile has lost its number, and is as good as it was.
    lost = set(
        page.evaluate(
            "[...document.querySelectorAll('[data-number]')].map((one) => one.dataset.number)"
        )
    )
    assert wanted & lost <= reached
    assert len(reached) > 15

    page.get_by_role("button", name="Pushes", exact=True).focus()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Pushes"
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"


def test_colours_follow_the_system_until_they_are_chosen(
    demo: tuple[Gateway, Remote], see: Callable[..., Seen]
) -> None:
    seen = see(demo[0].url, color_scheme="dark")
    page = seen.open()
    back = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    page.locator("#theme").click()
    light = page.evaluate(back)
    assert light != dark
    page.reload()
    seen.wait("#live[data-state=live]")
    assert page.evaluate(back) == light
    page.locator("#theme").click()
    assert page.evaluate(back) == dark
    assert "dark" in (page.locator("#theme").get_attribute("aria-label") or "")


def test_a_merge_is_seen_without_a_reload_of_the_page(
    demo: tuple[Gateway, Remote], see: Callable[..., Seen]
) -> None:
    gateway, remote = demo
    seen = see(gateway.url)
    page = seen.open()
    filled(seen)
    remote.merge(CHALLENGER, PROD, "Merge the forest into prod")
    row = f'tr[data-branch="{PROD}"]'
    seen.wait(f"{row} .commit", "Merge the forest into prod")
    seen.wait(f"{row} .commit", "Ada")
    seen.wait("#glance-change .answer", "Merge the forest into prod")
    merged = gateway.serving(PROD)
    assert merged is not None
    assert page.locator(f"{row} .hash").first.inner_text() == merged[:7]
    seen.wait("#timeline .events li", merged[:7])
    assert (
        "serves a new commit"
        in page.locator("#timeline .events li").filter(has_text=merged[:7]).first.inner_text()
    )
    wait_until(lambda: page.locator("#announcements").inner_text(), 240)
    assert seen.complaints == []


@pytest.fixture
def small(tmp_path: Path, remote: Remote, gateways: list[Gateway]) -> Gateway:
    """Two branches that start in a blink, whose names and words would run if anything let them."""
    card = json.dumps({EVIL: 0.5, "accuracy": 0.75})
    remote.commit("prod", {**serve_py("prod"), "metrics/model.json": card}, f"Serve {EVIL}")
    sulking = {"src/serve.py": SULKING, "metrics/golden.json": GOLDEN}
    remote.commit(NASTY, sulking, f"Try {EVIL}")
    found = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, NASTY: {"weight": 9}})
    gateways.append(found)
    return found


def test_names_and_words_of_a_branch_are_texts_and_nothing_else(
    small: Gateway, see: Callable[..., Seen]
) -> None:
    seen = see(small.start().url)
    page = seen.open()
    seen.wait("tr[data-branch] .who", NASTY)
    seen.wait('tr[data-branch="prod"] .commit', f"Serve {EVIL}")
    seen.wait("tr .figures dt", EVIL)
    page.locator("#unit").fill(EVIL)
    page.keyboard.press("Enter")
    seen.wait("#explain-body .said", EVIL)
    assert page.locator("main img").count() == 0
    assert seen.complaints == []


def test_every_panel_says_what_would_fill_it_and_a_branch_that_is_ejected_says_so(
    small: Gateway, see: Callable[..., Seen]
) -> None:
    seen = see(small.start().url)
    page = seen.open()
    for panel in ("experiment", "drift"):
        seen.wait(f"#{panel} .empty")
    seen.wait("#timeline .events", "The gateway started")

    def ejected() -> bool:
        for number in range(20):
            small.predict([[13]], f"user-{number}")
        return bool(small.branch(NASTY.replace("/", "~"))["state"] == "ejected")

    wait_until(ejected, 180)
    seen.wait("tr[data-branch] .state .chip", "ejected")
    seen.wait("tr[data-branch] .state .text", "the baseline answers for it meanwhile")
    seen.wait("#glance-health .wrongs", "ejected")
    page.get_by_role("button", name="Trouble", exact=True).click()
    seen.wait("#timeline .events", "is ejected")
    assert page.locator("main img, main b b").count() == 0


def test_of_many_comparisons_a_few_are_drawn_and_the_others_stand_in_a_table(
    tmp_path: Path, remote: Remote, gateways: list[Gateway], see: Callable[..., Seen]
) -> None:
    names = ["prod", *(f"exp-{number}" for number in range(7))]
    for name in names:
        remote.commit(name, serve_py(name))
    gateway = Gateway(tmp_path / "g", remote, {name: {"weight": 1} for name in names})
    gateways.append(gateway)
    gateway.start()
    for number in range(80):
        gateway.predict(unit=f"user-{number}")
    seen = see(gateway.url, color_scheme="light", **PHONE)
    page = seen.open()
    seen.wait("#experiment button.more", "Show all 7 comparisons")
    drawn, others = (
        page.locator("#experiment article"),
        page.locator("#experiment .others th[scope=row]"),
    )
    assert (drawn.count(), others.count()) == (4, 3)
    told = {text.split()[0] for text in page.locator("#experiment .verdict h3").all_inner_texts()}
    told |= {text.split()[0] for text in others.all_inner_texts()}
    assert told == set(names) - {"prod"}
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    page.locator("#experiment button.more").click()
    assert (drawn.count(), others.count()) == (7, 0)
    assert page.evaluate("document.activeElement.textContent") == "Show the foremost alone"
    page.keyboard.press("Enter")
    assert (drawn.count(), others.count()) == (4, 3)
    assert seen.complaints == []


def test_a_broken_stream_says_since_when_figures_are_old_and_comes_back(
    small: Gateway, see: Callable[..., Seen]
) -> None:
    small.write(listen=free_address())
    seen = see(small.start().url)
    page = seen.open()
    assert page.locator("#stale").is_hidden()
    assert small.stop() == 0
    seen.wait("#live[data-state=stale]")
    seen.wait("#stale", "All figures are as of")
    small.start()
    seen.wait("#live[data-state=live]")
    assert page.locator("#stale").is_hidden()
    seen.wait("#timeline .events li:nth-child(5)")
    events = page.locator("#timeline .events")
    wait_until(
        lambda: events.inner_text().count("The gateway started") == 2, describe=events.inner_text
    )
