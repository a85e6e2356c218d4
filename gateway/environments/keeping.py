"""Branches' environments below state_dir/environments: built once, shared, leased, pruned.

Owns how an environment comes to be and who uses it. A complete one has its key as its name;
what a crash left half built is cleared at the next start.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.config.environments import EnvironmentsConfig
from gateway.environment_metrics import EnvironmentMetrics
from gateway.environments.asked import Asked, asked
from gateway.environments.pythons import Python, python_for
from gateway.environments.uv import BuildAway, Ended, NotBuilt, Uv
from gateway.names import Fingerprint
from gateway.repositories.snapshots import Lease, Snapshots
from gateway.workers.launch import Interpreter

log = logging.getLogger(__name__)

#: Builds that run side by side; the others wait.
_AT_ONCE = 4
_ABOUT = "environment.json"
CACHE = ".cache"
_SECONDS = 60.0
_SAFE_PATH = (3, 11)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides whether and how an environment is built; two equal ones build the same."""

    index: str | None
    extra_indexes: tuple[str, ...]
    find_links: Path | None
    netrc_file: Path | None
    hashes: bool
    wheels_only: bool
    seconds: float

    @classmethod
    def of(cls, config: EnvironmentsConfig) -> Recipe:
        return cls(
            config.index,
            config.extra_indexes,
            config.find_links,
            config.netrc_file,
            config.hashes,
            config.wheels_only,
            config.build_time,
        )

    def install(self, closed: bool) -> list[str]:
        """What uv is told besides where and what."""
        told = ["--quiet"]
        told += ["--require-hashes"] if self.hashes else []
        told += ["--only-binary", ":all:"] if self.wheels_only else []
        told += ["--no-deps"] if closed else []
        told += ["--default-index", self.index] if self.index else []
        for index in self.extra_indexes:
            told += ["--index", index]
        if self.find_links:
            told += ["--find-links", str(self.find_links)]
            told += [] if self.index or self.extra_indexes else ["--no-index"]
        return told


class Equipment:
    """An environment that stays on disk while this is entered."""

    def __init__(self, lease: Lease, interpreter: Interpreter, seconds: float) -> None:
        self.interpreter = interpreter
        #: What it took to build; 0 if it was there.
        self.seconds = seconds
        self._lease = lease

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lease.release()


class Environments:
    """Every branch environment of one gateway; `open` first, `close` at the end.

    `environ` is what uv may see of the process's own environment. Its coroutines belong to one
    event loop; what takes long runs in threads of its own.
    """

    def __init__(
        self,
        folder: Path,
        config: EnvironmentsConfig,
        environ: Mapping[str, str],
        metrics: EnvironmentMetrics | None = None,
        cache: Path | None = None,
    ) -> None:
        """`cache` is uv's, if it is not to be below the folder."""
        self.folder = folder.absolute()
        self.cache = cache.absolute() if cache is not None else self.folder / CACHE
        self._environ = environ
        self._metrics = metrics or EnvironmentMetrics(None)
        self._kept = Snapshots(self.folder, keep=config.keep)
        self._building: dict[Fingerprint, threading.Lock] = {}
        self._guard = threading.Lock()
        self._running: set[Uv] = set()
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="environment")
        self.configure(config)

    def configure(self, config: EnvironmentsConfig) -> None:
        """From now on; what is there stays."""
        self._config = config
        self._kept.keep = config.keep
        self.recipe = Recipe.of(config)

    def open(self) -> None:
        """Make the folder, and clear what a crash left in it."""
        self._kept.open()
        self._show()

    def close(self) -> None:
        """End every build; those who wait for one get Ended."""
        with self._guard:
            running = list(self._running)
        for uv in running:
            uv.end()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def equip(self, root: Path, recipe: Recipe) -> Equipment:
        """The environment that the snapshot at `root` asks for, built if it is not there.

        NotBuilt with uv's words if the commit asks for what cannot be; BuildAway if it may be
        had later. Cancelled, it ends its build.
        """
        environ = dict(self._environ)
        if recipe.netrc_file is not None:
            environ["NETRC"] = str(recipe.netrc_file)
        uv = Uv(self.cache, environ)
        with self._guard:
            self._running.add(uv)
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, partial(self._equip, root, recipe, uv))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            uv.end()
            work.add_done_callback(_let_go)
            raise

    # In a thread

    def _equip(self, root: Path, recipe: Recipe, uv: Uv) -> Equipment:
        try:
            return self._made(root, recipe, uv)
        except NotBuilt:
            self._metrics.builds["failed"].inc()
            raise
        except OSError as error:
            self._metrics.builds["away"].inc()
            raise BuildAway(f"an environment cannot be written: {error}") from error
        except BuildAway as error:
            if not isinstance(error, Ended):
                self._metrics.builds["away"].inc()
            raise
        finally:
            with self._guard:
                self._running.discard(uv)

    def _made(self, root: Path, recipe: Recipe, uv: Uv) -> Equipment:
        python_of = cache(partial(python_for, uv=uv))
        wanted = asked(root, lambda folder, fits: _export(uv, folder, python_of(fits)))
        python = python_of(wanted.python)
        key = key_of(wanted, python, recipe)
        with self._guard:
            alone = self._building.setdefault(key, threading.Lock())
        # Whoever comes second takes what the first has built, or tries as the first has failed.
        with alone:
            begun, was_there = time.monotonic(), self._kept.has(key)
            lease = self._kept.build(key, partial(_write, uv, recipe, wanted, python))
            seconds = 0.0 if was_there else time.monotonic() - begun
        try:
            self._metrics.builds["shared" if was_there else "built"].inc()
            if not was_there:
                self._metrics.seconds.observe(seconds)
                self._trim_cache(uv)
            self._kept.prune()
            self._show()
        except BaseException:
            lease.release()
            raise
        flags = ("-P", "-S") if python.numbers >= _SAFE_PATH else ("-S",)
        interpreter = Interpreter(
            str(lease.root / "bin" / "python"),
            lease.root,
            key,
            wanted.lock,
            python.version,
            flags,
        )
        return Equipment(lease, interpreter, seconds)

    def _trim_cache(self, uv: Uv) -> None:
        """Begin the cache anew once it has grown, when nobody else is in it."""
        with self._guard:
            alone = self._running == {uv}
        if not alone or _unshared(self.cache) <= self._config.cache_bytes:
            return
        try:
            # A build that begins meanwhile waits for it, by uv's own lock.
            uv.run("cache", "clean", what="emptying uv's cache", seconds=_SECONDS)
        except (NotBuilt, BuildAway) as error:
            log.warning("the cache of environments stays as large as it is: %s", error)

    def _show(self) -> None:
        self._metrics.kept.set(len(self._kept.present()))


def key_of(wanted: Asked, python: Python, recipe: Recipe) -> Fingerprint:
    """Equal for equal requirements, Python and platform; how it was checked belongs to it."""
    demanded = (str(recipe.hashes), str(recipe.wheels_only), str(wanted.closed))
    digest = blake2b(digest_size=16)
    for part in (*sorted(wanted.lines), *python.identity, *demanded):
        digest.update(part.encode() + b"\0")
    return Fingerprint(digest.hexdigest())


def _export(uv: Uv, folder: Path, python: Python) -> str:
    told = ["--frozen", "--offline", "--no-default-groups", "--no-emit-workspace", "--no-header"]
    return uv.run(
        "export",
        *(*told, "--no-annotate", "--project", str(folder), "--python", python.path),
        what="uv.lock",
        seconds=_SECONDS,
    )


def _write(uv: Uv, recipe: Recipe, wanted: Asked, python: Python, target: Path) -> None:
    """Build into the empty directory `target`, which is renamed afterwards."""
    what = f"the environment of {wanted.lock}"
    made = ["--no-project", "--relocatable", "--python", python.path, str(target)]
    uv.run("venv", *made, what=what, seconds=_SECONDS)
    requirements = target / "requirements.txt"
    requirements.write_text("".join(f"{line}\n" for line in wanted.lines))
    if wanted.lines:
        into = ["--python", str(target / "bin" / "python"), "--requirement", str(requirements)]
        told = recipe.install(wanted.closed)
        uv.run("pip", "install", *into, *told, what=what, seconds=recipe.seconds)
        uv.compile(target / "bin" / "python", recipe.seconds)
    about = {"lock": wanted.lock, "python": python.version, "identity": python.identity}
    (target / _ABOUT).write_text(json.dumps(about, indent=1) + "\n")
    _flush(target)


def _flush(folder: Path) -> None:
    """To the disk: files that a crash of the machine left empty must not count as an environment.

    Of this file system alone, for a mount elsewhere may never answer.
    """
    if sys.platform != "linux":
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)


def _unshared(cache: Path) -> int:
    """Bytes that only the cache holds: what is linked into an environment costs nothing more."""
    total = 0
    for folder, _, names in os.walk(cache):
        for name in names:
            try:
                found = os.lstat(Path(folder, name))
            except OSError:
                continue
            total += found.st_blocks * 512 if found.st_nlink == 1 else 0
    return total


def _let_go(work: asyncio.Future[Equipment]) -> None:
    """Nobody waits any more for what was made."""
    if not work.cancelled() and work.exception() is None:
        work.result().__exit__(None, None, None)
