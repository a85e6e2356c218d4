"""Environments: built once, shared, kept to what was asked, pruned, and whole or not there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until, wait_until_async
from wheelhouse import Index, Wheelhouse, indexed

from gateway.config.environments import EnvironmentsConfig
from gateway.environments.keeping import Environments, Equipment
from gateway.environments.uv import BuildAway, NotBuilt
from gateway.metrics import Metrics


class House:
    """Environments over a folder of wheels, and snapshots that ask for some of them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.wheels = Wheelhouse(folder / "wheels")
        self.metrics = Metrics()
        self.settings = {"find_links": str(folder / "wheels"), **settings}
        self.kept = Environments(
            folder / "environments",
            EnvironmentsConfig.model_validate(self.settings),
            {"PATH": os.environ["PATH"], "UV_HTTP_RETRIES": "0"},
            self.metrics.environments,
        )
        self.kept.open()

    def snapshot(self, **files: str) -> Path:
        """`requirements_txt="…"` is requirements.txt."""
        root = self.folder / f"snapshot-{len(list(self.folder.iterdir()))}"
        root.mkdir()
        for name, text in files.items():
            (root / name.replace("_", ".")).write_text(text)
        return root

    async def equip(self, root: Path) -> Equipment:
        return await self.kept.equip(root, self.kept.recipe)

    def count(self, result: str) -> float | None:
        name, labels = "gateway_environment_builds_total", {"result": result}
        return self.metrics.registry.get_sample_value(name, labels)

    @property
    def names(self) -> set[str]:
        return {entry.name for entry in self.kept.folder.iterdir() if entry.name != ".cache"}


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.kept.close()


def said_by(equipment: Equipment, code: str) -> str:
    """What the environment's Python prints."""
    command = [equipment.interpreter.python, "-I", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    return done.stdout.strip()


def test_an_environment_holds_what_the_lock_names_and_nothing_of_the_gateway(house: House) -> None:
    async def story() -> None:
        root = house.snapshot(requirements_txt=house.wheels.add("scorer", "1.0", "NUMBER = 1"))
        with await house.equip(root) as equipment:
            assert said_by(equipment, "import scorer; print(scorer.NUMBER)") == "1"
            find = (
                "import importlib.util as u; print(u.find_spec('sklearn'), u.find_spec('gateway'))"
            )
            assert said_by(equipment, find) == "None None"
            assert equipment.interpreter.story["lock"] == "requirements.txt"
            assert equipment.interpreter.key == equipment.interpreter.folder.name
        assert (house.count("built"), house.count("shared")) == (1, 0)

    asyncio.run(story())


def test_two_that_ask_for_the_same_share_one_however_it_is_written(house: House) -> None:
    async def story() -> None:
        one, two = (house.wheels.add(name, "1.0", "") for name in ("scorer", "scaler"))
        first = house.snapshot(requirements_txt=one + two)
        second = house.snapshot(requirements_txt=f"# sorted otherwise\n{two}\n{one}")
        equipments = await asyncio.gather(house.equip(first), house.equip(second))
        assert len({equipment.interpreter.key for equipment in equipments}) == 1
        assert (house.count("built"), house.count("shared")) == (1, 1)
        for equipment in equipments:
            equipment.__exit__(None, None, None)

    asyncio.run(story())


def test_environments_share_their_files_on_disk(house: House) -> None:
    async def story() -> None:
        same, other = (house.wheels.add(name, "1.0", "X = 1") for name in ("scorer", "scaler"))
        with (
            await house.equip(house.snapshot(requirements_txt=same)) as one,
            await house.equip(house.snapshot(requirements_txt=same + other)) as two,
        ):
            assert one.interpreter.key != two.interpreter.key
            files = [next(e.interpreter.folder.rglob("scorer.py")) for e in (one, two)]
            assert files[0].samefile(files[1])

    asyncio.run(story())


def test_what_nobody_uses_is_pruned_and_what_is_used_stays(tmp_path: Path) -> None:
    house = House(tmp_path, keep=1)

    async def story() -> None:
        lines = [house.wheels.add("scorer", f"{number}.0", "") for number in range(4)]
        used = await house.equip(house.snapshot(requirements_txt=lines[0]))
        keys = []
        for line in lines[1:]:
            with await house.equip(house.snapshot(requirements_txt=line)) as equipment:
                keys.append(equipment.interpreter.key)
        assert house.names == {used.interpreter.key, *keys[1:]}
        with await house.equip(house.snapshot(requirements_txt=lines[0])):
            pass
        assert house.names == {used.interpreter.key, keys[2]}
        used.__exit__(None, None, None)

    asyncio.run(story())
    house.kept.close()


def test_a_cache_that_has_grown_is_begun_anew_and_environments_stay_whole(tmp_path: Path) -> None:
    house = House(tmp_path, cache_bytes="1B")

    async def story() -> None:
        line = house.wheels.add("scorer", "1.0", "NUMBER = 1")
        with await house.equip(house.snapshot(requirements_txt=line)) as equipment:
            archives = house.kept.folder / ".cache" / "archive-v0"
            assert not archives.exists()
            assert said_by(equipment, "import scorer; print(scorer.NUMBER)") == "1"

    asyncio.run(story())
    house.kept.close()


@pytest.mark.parametrize(
    ("requirements", "words"),
    [
        ("scorer==1.0 --hash=sha256:" + "0" * 64, "Hash mismatch for `scorer==1.0`"),
        ("scorer==1.0", "all requirements must have a hash"),
        ("scorer==9.0 --hash=sha256:" + "0" * 64, "no version of scorer==9.0"),
        ("scorer == == 1", "requirements.txt"),
    ],
    ids=["wrong hash", "no hash", "no such version", "nonsense"],
)
def test_what_cannot_be_built_is_refused_in_the_words_of_uv(
    house: House, requirements: str, words: str
) -> None:
    house.wheels.add("scorer", "1.0", "")

    async def story() -> None:
        with pytest.raises(
            NotBuilt, match=r"the environment of requirements\.txt: uv says: "
        ) as told:
            await house.equip(house.snapshot(requirements_txt=requirements))
        assert words in str(told.value)
        assert house.names == set()
        assert house.count("failed") == 1

    asyncio.run(story())


def test_hashes_and_wheels_are_demanded_unless_said_otherwise(tmp_path: Path) -> None:
    house = House(tmp_path, hashes=False)
    house.wheels.add("scorer", "1.0", "NUMBER = 1")
    told = EnvironmentsConfig()
    assert (told.hashes, told.wheels_only) == (True, True)

    async def story() -> None:
        with await house.equip(house.snapshot(requirements_txt="scorer")) as equipment:
            assert said_by(equipment, "import scorer; print(scorer.NUMBER)") == "1"

    asyncio.run(story())
    house.kept.close()


def test_an_index_that_fails_is_no_verdict_on_the_commit(tmp_path: Path) -> None:
    async def story(index: Index) -> None:
        house = House(tmp_path, index=index.url, find_links=None)
        root = house.snapshot(requirements_txt=index.wheels.add("scorer", "1.0", ""))
        for index.status in (503, 401):
            with pytest.raises(BuildAway, match=str(index.status)):
                await house.equip(root)
        assert (house.count("failed"), house.count("away")) == (0, 2)
        index.status = 200
        with pytest.raises(NotBuilt, match="scaler"):
            await house.equip(
                house.snapshot(requirements_txt=f"scaler==1 --hash=sha256:{'0' * 64}")
            )
        (await house.equip(root)).__exit__(None, None, None)
        house.kept.close()

    with indexed(Wheelhouse(tmp_path / "wheels")) as index:
        asyncio.run(story(index))


def test_a_build_that_is_wanted_no_more_ends_and_leaves_nothing(
    tmp_path: Path, silent_index: str
) -> None:
    house = House(tmp_path, index=silent_index)

    async def story() -> None:
        line = "scorer==1.0 --hash=sha256:" + "0" * 64
        task = asyncio.ensure_future(house.equip(house.snapshot(requirements_txt=line)))
        await wait_until_async(lambda: any(name.startswith(".b") for name in house.names))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    wait_until(lambda: house.names == set(), describe=lambda: house.names)
    house.kept.close()


def test_a_kill_in_the_middle_leaves_no_uv_and_the_next_start_clears_it(
    tmp_path: Path, silent_index: str
) -> None:
    house = House(tmp_path)
    root = house.snapshot(requirements_txt="scorer==1.0 --hash=sha256:" + "0" * 64)
    program = textwrap.dedent(
        f"""
        import asyncio
        from pathlib import Path
        from gateway.config.environments import EnvironmentsConfig
        from gateway.environments.keeping import Environments
        config = EnvironmentsConfig(index={silent_index!r})
        kept = Environments(Path({str(house.kept.folder)!r}), config, {{"PATH": "/usr/bin"}})
        asyncio.run(kept.equip(Path({str(root)!r}), kept.recipe))
        """
    )
    front = subprocess.Popen([sys.executable, "-c", program])
    installing = wait_until(lambda: _running("pip install", house.kept.folder))
    front.send_signal(signal.SIGKILL)
    front.wait()
    wait_until(lambda: not _running("", house.kept.folder), describe=lambda: installing)
    assert any(name.startswith(".building-") for name in house.names)
    house.kept.open()
    assert house.names == set()

    async def story() -> None:
        line = house.wheels.add("scorer", "1.0", "NUMBER = 1")
        with await house.equip(house.snapshot(requirements_txt=line)) as equipment:
            assert said_by(equipment, "import scorer; print(scorer.NUMBER)") == "1"

    asyncio.run(story())
    house.kept.close()


def _running(words: str, folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line and words in line and "asyncio" not in line:
            found.append(line)
    return found


def test_a_uv_lock_is_followed_without_its_project_or_its_addresses(house: House) -> None:
    line = house.wheels.add("scorer", "1.0", "NUMBER = 1")
    house.wheels.add("tester", "1.0", "")
    digest = line.partition("--hash=")[2].strip()
    where = "https://packages.invalid"
    lock = textwrap.dedent(
        f"""
        version = 1
        revision = 3
        requires-python = ">=3.9"

        [[package]]
        name = "scorer"
        version = "1.0"
        source = {{ registry = "{where}/simple" }}
        wheels = [
            {{ url = "{where}/scorer-1.0-py3-none-any.whl", hash = "{digest}" }},
        ]

        [[package]]
        name = "tester"
        version = "1.0"
        source = {{ registry = "{where}/simple" }}
        wheels = [
            {{ url = "{where}/tester-1.0-py3-none-any.whl", hash = "{digest}" }},
        ]

        [[package]]
        name = "churn"
        version = "0.1.0"
        source = {{ virtual = "." }}
        dependencies = [{{ name = "scorer" }}]

        [package.dev-dependencies]
        dev = [{{ name = "tester" }}]

        [package.metadata]
        requires-dist = [{{ name = "scorer", specifier = "==1.0" }}]

        [package.metadata.requires-dev]
        dev = [{{ name = "tester" }}]
        """
    )

    async def story() -> None:
        root = house.snapshot(uv_lock=lock, requirements_txt="never-read==1.0")
        with await house.equip(root) as equipment:
            assert equipment.interpreter.lock == "uv.lock"
            find = "import scorer, importlib.util as u; print(u.find_spec('tester'))"
            assert said_by(equipment, find) == "None"
            requirements = house.snapshot(requirements_txt=line)
        with await house.equip(requirements) as other:
            # One is resolved, the other is a lock: they are not taken for the same.
            assert other.interpreter.key != equipment.interpreter.key
        wanted = lock.replace(">=3.9", ">=3.99")
        with pytest.raises(NotBuilt, match=r"a Python of version >=3\.99: uv says: .*3\.99"):
            await house.equip(house.snapshot(uv_lock=wanted))

    asyncio.run(story())
