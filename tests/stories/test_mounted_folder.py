"""A mounted folder serves, reloads and takes rows as a git repository does, and is never torn."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gitrepo import git as person
from mounted import Mounted, mounted, remount
from running import Gateway, serve_py
from traffic import Traffic
from waiting import wait_until

ROOT = Path(__file__).parents[1]
#: Answers every different word of every file of models/: one word, unless it was torn.
SAYS_ITS_WORDS = """
def load(root):
    texts = [path.read_text() for path in sorted((root / "models").iterdir())]
    return "|".join(sorted({word for text in texts for word in text.split(" ")}))
def predict(model, instances):
    return [model for _ in instances]
"""
FILES = 60


def words(word: str) -> str:
    return " ".join([word] * 5000)


def model_of(word: str) -> dict[str, bytes | str | None]:
    parts: dict[str, bytes | str | None] = {f"models/{n:02}.txt": words(word) for n in range(FILES)}
    return {**parts, "src/serve.py": SAYS_ITS_WORDS}


@pytest.fixture
def folder(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "mnt")


@pytest.fixture
def gateway(tmp_path: Path, folder: Mounted, gateways: list[Gateway]) -> Callable[..., Gateway]:
    """A gateway on the folder, to be started by the test."""

    def make(**settings: Any) -> Gateway:
        settings = {"branches": {"prod": {"weight": 1}}, **settings}
        branches = settings.pop("branches")
        made = Gateway(tmp_path / "g", folder, branches, **settings)
        gateways.append(made)
        return made

    return make


def said(gateway: Gateway) -> str:
    answer: str = gateway.predict().json()["predictions"][0]
    return answer


def test_a_model_that_is_rewritten_piece_by_piece_is_never_served_torn(
    folder: Mounted, gateway: Callable[..., Gateway]
) -> None:
    root = folder.write("prod", model_of("old"))
    running = gateway(poll="1s").start()
    assert said(running) == "old"
    polls = 'gateway_polls_total{result="ok"}'
    with Traffic(running) as traffic:
        before = running.metric(polls)
        subprocess.run(
            [sys.executable, str(ROOT / "slow_writer.py"), str(root / "models"), words("new")],
            check=True,
        )
        assert running.metric(polls) > before + 2
        wait_until(lambda: said(running) == "new", 60.0, running.words)
        traffic.more(50)
    assert traffic.failures == []
    assert {body["predictions"][0] for body in traffic.answered} == {"old", "new"}
    assert running.metric('gateway_reloads_total{branch="prod",result="swapped"}') == 2


def swap(link: Path, target: str) -> None:
    beside = link.with_name(f"{link.name}_tmp")
    beside.symlink_to(target)
    beside.rename(link)


def test_a_kubernetes_volume_is_swapped_under_load(
    folder: Mounted, gateway: Callable[..., Gateway]
) -> None:
    root = folder.path / "prod"
    for revision in ("old", "new"):
        folder.write(f"prod/..2026_{revision}", model_of(revision))
    swap(root / "..data", "..2026_old")
    for name in ("models", "src"):
        (root / name).symlink_to(f"..data/{name}")
    running = gateway().start()
    with Traffic(running) as traffic:
        swap(root / "..data", "..2026_new")
        wait_until(lambda: said(running) == "new", 60.0, running.words)
        traffic.more(20)
    assert traffic.failures == []
    assert {body["predictions"][0] for body in traffic.answered} == {"old", "new"}


def test_a_sub_folder_that_is_a_link_is_swapped_under_load_and_keeps_no_rows(
    folder: Mounted, gateway: Callable[..., Gateway]
) -> None:
    for revision in ("old", "new"):
        folder.write(f".trees/{revision}", model_of(revision))
    swap(folder.path / "prod", ".trees/old")
    running = gateway(repository=f"folder://{folder.path}").start()
    with Traffic(running) as traffic:
        swap(folder.path / "prod", ".trees/new")
        wait_until(lambda: said(running) == "new", 60.0, running.words)
    assert traffic.failures == []
    assert {body["predictions"][0] for body in traffic.answered} == {"old", "new"}
    assert running.stop() == 0
    rows = folder.rows("prod", "gateway-monitoring/prod")
    assert {r["request_id"] for r in rows} >= {body["request_id"] for body in traffic.answered}
    assert folder.files(".trees/old/monitoring") == folder.files(".trees/new/monitoring") == []


def test_rows_appear_whole_in_the_folder_and_the_flat_file_is_a_view_of_them(
    folder: Mounted, gateway: Callable[..., Gateway]
) -> None:
    folder.write("prod", serve_py("a"))
    running = gateway(monitoring={"flush": "100ms"}).start()
    seen: dict[Path, set[str]] = {}
    over = threading.Event()

    def look() -> None:
        for path in (folder.path / "prod").rglob("*.csv"):
            seen.setdefault(path, set()).add(path.read_text())

    def read() -> None:
        while not over.is_set():
            look()

    reader = threading.Thread(target=read)
    reader.start()
    asked = []
    for _ in range(10):
        asked.append(running.predict([[1], [2]]).json()["request_id"])
        wait_until(lambda: len(ids(folder)) == 2 * len(asked), 60.0, running.words)
    over.set()
    reader.join()
    look()
    assert all(len(texts) == 1 for texts in seen.values())
    assert len(seen) >= len(asked)
    assert ids(folder) == sorted([*asked, *asked])

    view = running.get("/branches/prod/monitoring/predictions.csv").text
    assert [row["request_id"] for row in csv.DictReader(io.StringIO(view))][::2] == asked
    command = [sys.executable, "-m", "gateway", "export", "prod", "--config", str(running.file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == view
    status = running.get("/branches").json()
    assert status["repository"]["kind"] == "folder"
    monitoring = status["branches"]["prod"]["monitoring"]
    assert (monitoring["ref"], monitoring["target"]) == (str(folder.path / "prod"), "branch")
    assert running.metric('gateway_reloads_total{branch="prod",result="swapped"}') == 1


def ids(folder: Mounted) -> list[str]:
    return sorted(row["request_id"] for row in folder.rows("prod"))


def test_a_work_tree_answers_with_its_commit_and_a_changed_one_with_a_digest(
    folder: Mounted, gateway: Callable[..., Gateway]
) -> None:
    root = folder.write("team/exp", serve_py("old"))
    person(root, "init", "--quiet")
    person(root, "add", "--all")
    person(root, "commit", "--quiet", "-m", "first")
    running = gateway(branches={"team/exp": {"weight": 1}}, baseline="team/exp").start()
    first = person(root, "rev-parse", "HEAD")
    assert running.predict().json()["commit"] == first
    person(root, "commit", "--quiet", "--allow-empty", "-m", "second")
    second = person(root, "rev-parse", "HEAD")
    wait_until(lambda: running.predict().json()["commit"] == second, 60.0, running.words)
    swaps = 'gateway_reloads_total{branch="team/exp",result="swapped"}'
    assert running.metric(swaps) == 1, "another commit of the same content is a quiet move"
    folder.write("team/exp", serve_py("new"))
    wait_until(lambda: said(running) == "new", 60.0, running.words)
    assert len(running.predict().json()["commit"]) == 64
    assert running.stop() == 0
    rows = folder.rows("team/exp")
    assert {first, second} < {row["commit"] for row in rows}


def test_with_the_mount_away_a_restart_serves_on_and_follows_when_it_is_back(
    folder: Mounted, gateway: Callable[..., Gateway], tmp_path: Path
) -> None:
    folder.write("prod", serve_py("old"))
    running = gateway().start()
    assert running.settings["repository"] == f"folder://{folder.path}"
    running.write(repository=str(folder.path))
    assert running.stop() == 0
    assert said(running.start()) == "old"
    away = folder.path.rename(tmp_path / "away")
    folder.path.mkdir()

    def trouble() -> str:
        text: str = running.branch("prod")["repository"]["text"] or ""
        return text

    wait_until(lambda: "is it mounted" in trouble(), describe=running.words)
    assert said(running) == "old"
    assert running.stop() == 0
    running.start()
    before = running.predict()
    assert before.json()["predictions"] == ["old"]
    assert list(folder.path.iterdir()) == [], "nothing is written below an empty mount point"
    folder.path.rmdir()
    away.rename(folder.path)
    folder.write("prod", serve_py("new"))
    wait_until(lambda: said(running) == "new", 60.0, running.words)
    wait_until(lambda: before.json()["request_id"] in ids(folder), 60.0, running.words)


def test_a_read_only_folder_is_served_and_its_rows_wait(
    folder: Mounted, gateway: Callable[..., Gateway]
) -> None:
    folder.write("prod", serve_py("old"))
    with mounted(folder.path, "--bind", str(folder.path)):
        remount(folder.path, "bind,ro")
        running = gateway().start()
        asked = running.predict().json()["request_id"]

        def failure() -> str:
            status = running.branch("prod")["monitoring"] or {}
            return str((status.get("last_failure") or {}).get("reason"))

        wait_until(lambda: "Read-only file system" in failure(), 60.0, running.words)
        remount(folder.path, "bind,rw")
        wait_until(
            lambda: (
                asked in {r["request_id"] for r in folder.rows("prod", "gateway-monitoring/prod")}
            ),
            60.0,
            running.words,
        )
        assert running.stop() == 0


def test_a_pointer_that_was_not_pulled_says_what_to_run_and_the_old_model_goes_on(
    folder: Mounted, gateway: Callable[..., Gateway]
) -> None:
    folder.write("prod", {**serve_py("old"), "models/m.txt": "x"})
    running = gateway().start()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    folder.write("prod", {"models/m.txt": pointer})

    def text() -> str:
        return str(running.branch("prod")["repository"]["text"])

    wait_until(lambda: "git lfs pull" in text(), 60.0, running.words)
    assert said(running) == "old"
    folder.write("prod", {"models/m.txt": "pulled", **serve_py("new")})
    wait_until(lambda: said(running) == "new", 60.0, running.words)
    assert running.branch("prod")["repository"]["trouble"] is None
    assert running.stop() == 0
    decisions = [
        name for name in folder.files("prod/monitoring/decisions/") if name.endswith("csv")
    ]
    assert any("git lfs pull" in (folder.path / name).read_text() for name in decisions)
