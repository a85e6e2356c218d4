"""A real Chromium on the console, which hears every complaint and every request of the page."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
#: Milliseconds for anything to come true, on a machine that has other things to do.
PATIENCE = 240_000


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The installed one, without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=ARGUMENTS, timeout=PATIENCE
        )
        try:
            yield browser
        finally:
            browser.close()


def patient(context: BrowserContext) -> Page:
    """A new page that gives everything its time."""
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    return page


class Seen:
    """A page with what it complained of and whom it asked."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self.url = url
        self._context = browser.new_context(reduced_motion="reduce", **context)
        self.page = patient(self._context)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def _said(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def open(self) -> Page:
        """The console, once its stream is heard."""
        self.page.goto(f"{self.url}/", wait_until="commit")
        self.wait("#live[data-state=live]")
        return self.page

    def wait(self, selector: str, text: str | None = None) -> None:
        """Until there is such an element, with that text somewhere in it."""
        found = self.page.locator(selector)
        if text is not None:
            found = found.filter(has_text=text)
        found.first.wait_for(state="attached")

    def close(self) -> None:
        self._context.close()
