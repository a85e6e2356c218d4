"""`python -m loadtests.pictures`: a demonstration with users, merges and drift, photographed.

Writes deploy/pictures/console-{light,below,dark,phone}.png from a real gateway in a real Chromium.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import httpx
from playwright.sync_api import Browser, FloatRect, sync_playwright

from gateway.demo.repository import CHALLENGER, PROD, build_repository
from gateway.demo.traffic import Labelled, is_ready, rows_of

_PICTURES = Path(__file__).parent.parent / "deploy" / "pictures"
_ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
CALIBRATED = "calibrated"
#: Seconds after which the users' measurements begin to move.
_SHIFT_AFTER = 60
#: Name, width, pixels to a point, colours, and the panels that begin and end it.
_SHOTS = (
    ("light", 1360, 1, "light", None, "#experiment"),
    ("below", 1360, 1, "light", "#drift", None),
    ("dark", 1360, 1, "dark", None, "#experiment"),
    ("phone", 390, 2, "light", None, None),
)
#: How much of a phone's page is shown.
_PHONE = 1500
_SETTINGS: dict[str, Any] = {
    "repository": "repository.git",
    "baseline": PROD,
    "branches": {PROD: {"weight": 60}, CHALLENGER: {"weight": 30}, CALIBRATED: {"weight": 10}},
    "state_dir": "state",
    "poll": "1s",
    "monitoring": {"flush": "10s", "sample_rows": "all"},
    "drift": {"window": "20s", "min_rows": 100},
    "metrics": {"accuracy": {"kind": "ratio", "role": "primary", "window": "10s"}},
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", type=click.IntRange(60), default=240, show_default=True)
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=_PICTURES)
def main(seconds: int, output: Path) -> None:
    """Serve a demonstration for a while, and take pictures of its console."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as name:
        folder = Path(name) / "churn"
        repository = build_repository(folder)
        rows = rows_of(repository)
        branch_off(repository, CALIBRATED, "Calibrate scores on the outcomes of March", hours=20)
        with served(folder) as address, users(address, rows):
            happenings(folder, repository, seconds)
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=_ARGUMENTS
                )
                for shot in _SHOTS:
                    click.echo(photograph(browser, address, output, *shot))
                browser.close()


def happenings(folder: Path, repository: Path, seconds: int) -> None:
    """What a day brings, in a few minutes: weights, a broken commit, its repair."""
    part = seconds / 4
    time.sleep(part)
    broken = {"src/serve.py": "import a_module_nobody_has\n"}
    branch_off(repository, CALIBRATED, "Try the new calibration library", hours=1, files=broken)
    time.sleep(part)
    mended = {"src/serve.py": None, "metrics/model.json": {"accuracy": 0.9371, "roc_auc": 0.9889}}
    text = "Leave the calibration library out again"
    branch_off(repository, CALIBRATED, text, hours=0.1, files=mended)
    branches = _SETTINGS["branches"]
    changed = {**branches, PROD: {"weight": 50}, CHALLENGER: {"weight": 40}}
    write_settings(folder, {**_SETTINGS, "branches": changed})
    time.sleep(seconds - 2 * part)


def branch_off(
    repository: Path,
    branch: str,
    message: str,
    *,
    hours: float,
    files: dict[str, Any] | None = None,
) -> None:
    """Commit to the branch, which begins at production, as somebody did so many hours ago."""
    changes = files or {"metrics/model.json": {"accuracy": 0.9301}}
    stamp = (datetime.now(UTC) - timedelta(hours=hours)).isoformat(timespec="seconds")
    for _ in range(10):
        if _pushed(repository, branch, message, stamp, changes):
            return
    raise SystemExit(f"{branch} moved under ten pushes in a row")


def _pushed(
    repository: Path, branch: str, message: str, stamp: str, changes: dict[str, Any]
) -> bool:
    """Whether it landed; the gateway, which pushes too, may have been a moment before."""
    person = {"NAME": "Jonas Lindqvist", "EMAIL": "jonas@example.org", "DATE": stamp}
    roles = ("AUTHOR", "COMMITTER")
    who = {f"GIT_{role}_{key}": text for role in roles for key, text in person.items()}
    with tempfile.TemporaryDirectory() as work:

        def git(*arguments: str) -> subprocess.CompletedProcess[str]:
            command = ["git", "-C", work, *arguments]
            environ = {**os.environ, **who}
            return subprocess.run(command, check=False, capture_output=True, text=True, env=environ)

        git("clone", "--quiet", "--branch", PROD, str(repository), ".")
        known = f"origin/{branch}" in git("branch", "--remotes").stdout
        git("checkout", "--quiet", "-B", branch, f"origin/{branch if known else PROD}")
        for path, content in changes.items():
            target = Path(work, path)
            if content is None:
                target.unlink()
            elif isinstance(content, str):
                target.write_text(content)
            else:
                card = json.loads(target.read_text())
                target.write_text(json.dumps({**card, **content}, indent=1))
        git("add", "--all")
        git("commit", "--quiet", "-m", message)
        return git("push", "--quiet", "origin", f"HEAD:refs/heads/{branch}").returncode == 0


def write_settings(folder: Path, settings: dict[str, Any]) -> None:
    """JSON is YAML."""
    beside = folder / ".gateway.yaml"
    listen = json.loads((folder / "gateway.yaml").read_text())["listen"]
    beside.write_text(json.dumps({**settings, "listen": listen}, indent=1))
    beside.replace(folder / "gateway.yaml")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A gateway on the folder's repository, ready; its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{probe.getsockname()[1]}"
    (folder / "gateway.yaml").write_text(json.dumps({**_SETTINGS, "listen": listen}))
    with (folder / "gateway.log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "gateway", "serve", "gateway.yaml"],
            cwd=folder,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        while not is_ready(f"http://{listen}") and child.poll() is None:
            time.sleep(0.2)
        yield f"http://{listen}"
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(60)


@contextmanager
def users(address: str, rows: list[Labelled]) -> Iterator[None]:
    """People who ask and tell, now more and now fewer, whose measurements begin to move."""
    over, began = threading.Event(), time.monotonic()
    chance = random.Random(11)

    def live() -> None:
        told: list[dict[str, str]] = []
        with httpx.Client(base_url=address, timeout=30) as client:
            while not over.is_set():
                row, label = chance.choice(rows)
                now = time.monotonic() - began
                if now > _SHIFT_AFTER:
                    texture, symmetry = row["mean texture"] * 1.25, row["worst symmetry"] * 0.85
                    row = {**row, "mean texture": texture, "worst symmetry": symmetry}
                user = {"X-User-Id": f"user-{chance.randrange(100_000)}"}
                with suppress(httpx.TransportError):  # a machine that has other things to do
                    answer = client.post("/predict", json={"instances": [row]}, headers=user)
                    if identity := answer.json().get("request_id"):
                        told.append({"request_id": identity, "metric": "accuracy", "label": label})
                    if len(told) >= 100:
                        client.post("/feedback", json={"items": told})
                        told = []
                over.wait(chance.expovariate(35 * (1 + 0.3 * math.sin(now / 20))))

    threads = [threading.Thread(target=live) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def photograph(
    browser: Browser,
    address: str,
    output: Path,
    name: str,
    width: int,
    pixels: int,
    colours: str,
    first: str | None,
    last: str | None,
) -> str:
    """Take one picture, once every panel is filled; what was written."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        device_scale_factor=pixels,
        color_scheme="dark" if colours == "dark" else "light",
        reduced_motion="reduce",
    )
    page = context.new_page()
    page.goto(address)
    for selector in ("#traffic canvas", "#experiment canvas", "#drift svg", "#pushes td .hash"):
        page.locator(selector).first.wait_for(timeout=120_000)
    page.locator("#unit").fill("user-4711")
    page.keyboard.press("Enter")
    page.locator("#explain-body .won").wait_for()
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.wait_for_timeout(2500)
    edge = "selector => document.querySelector(selector).getBoundingClientRect()"
    top = 0.0 if first is None else page.evaluate(f"one => ({edge})(one).top", first) - 16
    end = page.evaluate("document.documentElement.scrollHeight")
    bottom = end if last is None else page.evaluate(f"one => ({edge})(one).bottom", last) + 16
    height = min(bottom - top, _PHONE if name == "phone" else bottom)
    file = output / f"console-{name}.png"
    clip: FloatRect = {"x": 0, "y": top, "width": width, "height": height}
    page.screenshot(path=file, full_page=True, clip=clip)
    context.close()
    return f"{file}: {file.stat().st_size / 1024:.0f} KiB"


if __name__ == "__main__":
    main()
