"""The image, built for real upon a base that is made here, and run as a container would be.

No registry is asked: the base is Debian's own Python. Nothing keeps containers here either: what
runs is the image's own root, mounted read-only, as the user, with the environment and by the entry
point that the image names, with no capability and no other process in sight.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gateway import __version__

ROOT = Path(__file__).parent.parent
DOCKERFILE = ROOT / "Dockerfile"
IMAGE = f"localhost/branch-gateway:{__version__}"
_AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
#: What a build may take, cold: Debian, Git and the libraries come over the network.
_DEADLINE = 2400.0


def run(command: Sequence[object], **options: Any) -> str:
    """What a command says; AssertionError with all of it, should it fail."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_DEADLINE,
        **options,
    )
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout[-4000:]}"
    said: str = done.stdout
    return said


def cache_folder(otherwise: Path) -> Path:
    """Where base and layers are kept from run to run, on a machine that has a place for such."""
    named = os.environ.get("GATEWAY_IMAGE_CACHE")
    usual = Path("~/.cache").expanduser()
    folder = Path(named) if named else usual / "branch-gateway-image"
    return folder if named or usual.is_dir() else otherwise


class Builder:
    """buildah, with a store of its own in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tmp").mkdir(exist_ok=True)
        (self.folder / "policy.json").write_text(
            '{"default": [{"type": "insecureAcceptAnything"}]}'
        )
        self._driver("overlay")
        try:
            self("images")
        except AssertionError:
            # A container's own file system may be one that none can be laid over.
            self._driver("vfs")

    def _driver(self, name: str) -> None:
        self.layers = name == "overlay"
        places = f'graphroot = "{self.folder}/{name}"\nrunroot = "{self.folder}/run-{name}"\n'
        (self.folder / "storage.conf").write_text(f'[storage]\ndriver = "{name}"\n{places}')

    def __call__(self, *arguments: object) -> str:
        settings = [
            "BUILDAH_ISOLATION=chroot",
            f"CONTAINERS_STORAGE_CONF={self.folder}/storage.conf",
            f"TMPDIR={self.folder}/tmp",
        ]
        return run([*_AS_ROOT, "env", *settings, "buildah", *arguments])

    def _has(self, image: str) -> bool:
        found = json.loads(self("images", "--json"))
        return any(image in (entry.get("names") or ()) for entry in found)

    def base(self, suite: str) -> str:
        """Debian with its Python, in place of the one that the Dockerfile names; made once."""
        name = f"localhost/python:{suite}"
        if self._has(name):
            return name
        root = self.folder / "root"
        run([*_AS_ROOT, "rm", "-rf", root])
        packages = "--include=python3,python3-venv,ca-certificates"
        run([*_AS_ROOT, "debootstrap", "--variant=minbase", packages, suite, root])
        # Whoever this machine trusts: it may stand behind a proxy of its own.
        trusted = "etc/ssl/certs/ca-certificates.crt"
        if Path("/", trusted).exists():
            run([*_AS_ROOT, "cp", f"/{trusted}", root / trusted])
        container = self("from", "scratch").strip()
        mounted = self("mount", container).strip()
        run([*_AS_ROOT, "cp", "-a", f"{root}/.", mounted])
        self("commit", "--signature-policy", self.folder / "policy.json", container, name)
        self("rm", container)
        run([*_AS_ROOT, "rm", "-rf", root])
        return name

    def build(self) -> None:
        base = re.search(r"^ARG BASE_IMAGE=\S*-slim-(\w+)", DOCKERFILE.read_text(), re.MULTILINE)
        assert base is not None
        self(
            *("bud", f"--layers={str(self.layers).lower()}", "--format", "docker"),
            *("--signature-policy", self.folder / "policy.json"),
            *("--build-arg", f"BASE_IMAGE={self.base(base[1])}", "--tag", IMAGE, ROOT),
        )

    @contextmanager
    def opened(self) -> Iterator[Image]:
        """The image, its root mounted."""
        container = self("from", IMAGE).strip()
        try:
            inspected = json.loads(self("inspect", "--type", "image", IMAGE))["Docker"]
            yield Image(Path(self("mount", container).strip()), inspected["config"])
        finally:
            self("rm", container)


@dataclass(frozen=True)
class Image:
    """The image's root on this machine, and what it says of how it wants to be run."""

    root: Path
    config: Mapping[str, Any]

    @cached_property
    def environment(self) -> dict[str, str]:
        return dict(entry.split("=", 1) for entry in self.config["Env"])

    def mebibytes(self, folder: str = "/") -> int:
        """What a folder of it holds, unpacked."""
        place = self.root / folder.lstrip("/")
        said = run([*_AS_ROOT, "du", "--summarize", "--one-file-system", "-m", place])
        return int(said.split()[0])

    def found(self, *tests: str) -> list[str]:
        """Paths in the image that `find` finds, as root, who sees all."""
        said = run([*_AS_ROOT, "find", self.root, "-xdev", *tests])
        return [f"/{Path(line).relative_to(self.root)}" for line in said.splitlines()]

    def command(
        self,
        *arguments: object,
        entry: Sequence[str] = (),
        binds: Mapping[str, Path] | None = None,
        readable: Mapping[str, Path] | None = None,
        writable_root: bool = False,
    ) -> list[str]:
        """What runs `arguments` in it, by its own entry point unless by another `entry`.

        `binds` and `readable` are folders and files of this machine, by where they are mounted.
        """
        user, group = self.config["User"].split(":")
        box: list[object] = ["bwrap", "--bind" if writable_root else "--ro-bind", self.root, "/"]
        box += ["--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]
        box += ["--perms", "1777", "--tmpfs", "/tmp"]
        for kind, mounts in (("--bind", binds), ("--ro-bind", readable)):
            for place, folder in (mounts or {}).items():
                box += [kind, folder, place]
        box += ["--unshare-pid", "--unshare-ipc", "--unshare-uts", "--as-pid-1"]
        box += ["--die-with-parent", "--new-session", "--clearenv"]
        for name, value in self.environment.items():
            box += ["--setenv", name, value]
        box += ["--cap-drop", "ALL"]
        # Until it is that user, who has none.
        for capability in ("SETUID", "SETGID", "SETPCAP"):
            box += ["--cap-add", f"CAP_{capability}"]
        box += ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"]
        box += ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        # Not before: the folder may be that user's alone.
        box += ["env", f"--chdir={self.config['WorkingDir']}"]
        box += [*(entry or self.config["Entrypoint"]), *arguments]
        return [*_AS_ROOT, *map(str, box)]

    def says(self, *command: object, **options: Any) -> str:
        """What a command in it says."""
        first, *rest = command
        return run(self.command(*rest, entry=[str(first)], **options))

    def owned(self, folder: Path) -> Path:
        """An empty folder that belongs to the image's user, as a fresh volume would."""
        folder.mkdir()
        run([*_AS_ROOT, "chown", self.config["User"], folder])
        return folder


class Container:
    """Something that runs in an image, and is stopped as a container is."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    def words(self) -> str:
        return self._log.read_text(errors="replace")

    def inside(self) -> list[int]:
        """Every process of it from the first on, by this machine's numbers."""
        found = _descendants(self.process.pid)
        names = [_read(f"/proc/{pid}/comm").strip() for pid in found]
        return found[names.index("tini") :] if "tini" in names else []

    def stop(self, deadline: float = 120.0) -> int:
        """SIGTERM to its first process; its exit code."""
        first = self.inside()[:1]
        assert first, self.words()
        run([*_AS_ROOT, "kill", f"-{signal.SIGTERM.value}", first[0]])
        return self.process.wait(deadline)

    def kill(self) -> None:
        """All of it: what changed its user does not die with its parent any more."""
        if self.process.poll() is None:
            every = _descendants(self.process.pid)
            run([*_AS_ROOT, "sh", "-c", 'kill -9 "$@" 2>/dev/null || true', "kill", *every])
            self.process.wait()


def _descendants(pid: int) -> list[int]:
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
    # A child belongs to the thread that started it.
    children = [int(text) for task in tasks for text in _read(f"{task}/children").split()]
    return [pid, *(found for child in children for found in _descendants(child))]


def _read(path: str) -> str:
    """Empty once its process is gone."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def users_of(pids: Sequence[int]) -> set[str]:
    """The real, effective, saved and file system users of processes, in one line each."""
    lines = [re.search(r"^Uid:\s+(.*)$", _read(f"/proc/{pid}/status"), re.M) for pid in pids]
    return {" ".join(line[1].split()) for line in lines if line is not None}


def removed(folder: Path) -> None:
    """Remove a builder's folder, of which much is root's."""
    if folder.exists():
        run([*_AS_ROOT, "rm", "-rf", folder])
    shutil.rmtree(folder, ignore_errors=True)
