"""The page /docs: whole, by itself, and good to use with a keyboard, a screen reader or a phone."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from asdocumented import made
from gitrepo import Remote
from running import Gateway, serve_py

from gateway.web.openapi.page import laid_out, page, prose, words


class Read(HTMLParser):
    """The elements of a page, which must all be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "input", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, name: str) -> list[str]:
        return [one[name] or "" for _, one in self.elements if name in one]


def test_the_page_is_whole_and_its_links_lead_somewhere() -> None:
    found = Read(page(made()))
    places = found.all("id")
    assert len(places) == len(set(places))
    for link in found.all("href"):
        if link.startswith("#"):
            assert link[1:] in places
        else:
            assert link in ("docs/docs.css", "openapi.json", "data:,")
    assert found.all("src") == ["docs/docs.js"]


def test_nothing_in_the_page_is_a_style_or_script_of_its_own() -> None:
    found = Read(page(made()))
    assert found.all("style") == []
    assert not [name for _, one in found.elements for name in one if name.startswith("on")]
    assert "style" not in [tag for tag, _ in found.elements]


def test_every_route_and_every_shape_stands_on_the_page() -> None:
    document = made()
    places = Read(page(document)).all("id")
    for methods in document["paths"].values():
        assert {one["operationId"] for one in methods.values()} <= set(places)
    assert {f"shape-{name}" for name in document["components"]["schemas"]} <= set(places)


def test_names_of_the_settings_are_text_and_nothing_else() -> None:
    found = page(made(salt="</script><b>&", unit=["body:<i>"]))
    Read(found)
    assert "<i>" not in found
    assert "&lt;i&gt;" in found


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (True, "any JSON"),
        ({}, "any JSON"),
        ({"type": "string"}, "string"),
        ({"type": ["string", "null"]}, "string or null"),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer or null"),
        ({"type": "array", "items": {"type": "string"}}, "list of string"),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "by name: integer"),
        ({"enum": ["a", "<"]}, "<code>a</code> or <code>&lt;</code>"),
        ({"type": "string", "format": "date-time"}, "string (date-time)"),
        ({"$ref": "#/components/schemas/X"}, '<a href="#shape-X">X</a>'),
    ],
)
def test_a_schema_is_said_in_words(schema: Any, said: str) -> None:
    assert str(words(schema)) == said


def test_text_is_escaped_and_code_is_code() -> None:
    assert str(prose("a `<b>` c\n\nd")) == "<p>a <code>&lt;b&gt;</code> c</p><p>d</p>"


def test_examples_are_laid_out_in_short_lines() -> None:
    assert laid_out({"a": [1, 2]}) == '{"a": [1, 2]}'
    long = {"a": ["x" * 40, "y" * 40], "b": 1}
    assert laid_out(long).splitlines()[1] == '  "a": ['
    assert max(map(len, laid_out(long).splitlines())) < 72


@pytest.fixture
def served(tmp_path: Path, remote: Remote, gateways: list[Gateway]) -> Gateway:
    remote.commit("prod", serve_py("prod"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    return gateway.start()


def test_the_browser_may_load_nothing_from_elsewhere(served: Gateway) -> None:
    policy = served.get("/docs").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.fixture
def browser() -> Iterator[Any]:
    from browsing import chromium

    with chromium() as found:
        yield found


#: Wide, dark, and a phone.
LOOKS: list[dict[str, Any]] = [
    {"viewport": {"width": 1280, "height": 900}},
    {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    {"viewport": {"width": 360, "height": 740}, "has_touch": True},
]


@pytest.mark.timeout(900)
@pytest.mark.needs("chromium")
@pytest.mark.parametrize("look", LOOKS)
def test_the_page_is_good_in_a_browser(served: Gateway, browser: Any, look: dict[str, Any]) -> None:
    from axe_playwright_python.sync_playwright import Axe
    from browsing import patient

    view = patient(browser.new_context(**look))
    said: list[str] = []
    asked: list[str] = []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    view.goto(f"{served.url}/docs")
    assert said == []
    assert all(url.startswith((served.url, "data:")) for url in asked), asked
    assert view.evaluate("document.documentElement.scrollWidth") <= look["viewport"]["width"]
    command = view.locator("#predict pre code").first.inner_text()
    assert command.startswith(f"curl -s {served.url}/predict ")
    view.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert view.evaluate("document.documentElement.scrollWidth") <= look["viewport"]["width"]
    # axe brings its own script into the page, which the page's policy forbids all others.
    free = patient(browser.new_context(bypass_csp=True, **look))
    free.goto(f"{served.url}/docs")
    free.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    found = Axe().run(free)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.timeout(900)
@pytest.mark.needs("chromium")
def test_a_route_is_found_and_its_command_copied_by_keyboard(served: Gateway, browser: Any) -> None:
    from browsing import patient

    view = patient(browser.new_context(permissions=["clipboard-read", "clipboard-write"]))
    view.goto(f"{served.url}/docs")
    view.keyboard.press("Tab")
    assert view.evaluate("document.activeElement.className") == "skip"
    view.keyboard.press("/")
    view.keyboard.type("drift")
    assert view.locator("article[data-words]:visible").count() == 1
    assert view.locator("nav li:visible").count() == 1
    view.keyboard.type(" and no such thing")
    assert view.locator("#nothing").is_visible()
    view.goto(f"{served.url}/docs#healthz")
    view.locator("#healthz").wait_for()  # the page hears of its new address in a later turn
    view.locator("#healthz button.copy").first.focus()
    view.keyboard.press("Enter")
    view.locator("#spoken", has_text="Copied").wait_for(state="attached")
    copied = view.evaluate("navigator.clipboard.readText()")
    assert copied == f"curl -s {served.url}/healthz"
