"""The one door to the git CLI: a bare, disposable, blob-less cache of one remote.

`Git` is synchronous and thread-safe; nothing else in the gateway starts git. A password reaches
no message, argument, environment of a child or configuration of the cache.

    git = Git(state_dir / "git" / "write", remote, {"PATH": ..., "HOME": ...})
    git.prepare()                          # once, before anything else
    tip = git.fetch_tip(branch)            # MissingRef if it is not on the remote
    git.ls_tree(tip, "monitoring")         # commits and trees are local, blobs on demand
    git.run(["fast-import", "--quiet"], stdin=stream)
    git.push(commit, branch.ref, expected=tip)     # StaleTip | PushRefused | RemoteUnavailable
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from gateway.errors import MissingRef, RemoteUnavailable, StateError
from gateway.names import Branch, Commit, InvalidName
from gateway.repositories.blobs import Blobs
from gateway.repositories.credentials import Credentials
from gateway.repositories.gitprocess import Address, Done, GitProcess
from gateway.repositories.locks import LOCKED, remove_locks
from gateway.repositories.pushes import push_error
from gateway.repositories.trees import Entry, parse_entries

_GONE = re.compile(r"not our ref|couldn't find remote ref|unadvertised object")
_DAMAGE = re.compile(
    r"corrupt|inflate|not a git repository|bad (config|object|tree)|object file .* is empty"
    r"|packfile .* cannot be (accessed|mapped)|file .* is far too short|unable to read (tree|sha1)"
    r"|invalid index-pack output|did not send all necessary objects|bad signature"
)
_MOST_PACKS = 1500
_BLOCK = 4096
_UNFILTERED = "gateway-unfiltered"
#: How fetches begin: commits and trees only, and nothing behind our back.
FETCH = [
    "fetch",
    "--quiet",
    "--no-tags",
    "--no-write-fetch-head",
    "--no-auto-maintenance",
    "--recurse-submodules=no",
    "--filter=blob:none",
]


class DamagedCache(RemoteUnavailable):
    """The local cache cannot be read: `rebuild()` it, then try again."""


class Git:
    """A cache directory of one remote. Every call is bounded by `deadline` seconds.

    Beside what each call names, StateError says that the disk under the cache is full.

    `environment` is the whole environment of git children. Only this object may use `cache`: a
    lock file found in it is a dead process's and is removed. Methods that say "local" never use
    the network, whatever is missing.
    """

    def __init__(
        self,
        cache: Path,
        remote: str,
        environment: Mapping[str, str],
        *,
        deadline: float = 60.0,
        credentials: Credentials | None = None,
    ) -> None:
        self.cache = cache.absolute()
        self.address = Address(remote)
        self.deadline = deadline
        self.generation = self.rebuilds = 0
        known = credentials or Credentials()
        self._process = GitProcess(self.cache, self.address, environment, known)
        self._writing = threading.RLock()

    # The cache itself

    def prepare(self) -> bool:
        """Make the cache usable, also after `close`; True if it is new or was rebuilt (local)."""
        self._process.resume()
        if self._sound():
            return False
        self.rebuild()
        return True

    def beside(self, cache: Path, remote: str | None = None) -> Git:
        """Another cache, ready: of this remote, or of one that gets no credentials elsewhere.

        Its children end with this one's. No `remote` of a branch's choice comes here unchecked.
        """
        made = Git(cache, remote or self.address.url, {}, deadline=self.deadline)
        made._process = self._process.beside(made.cache, made.address)
        if not made._sound():
            made.rebuild()
        return made

    def rebuild(self, generation: int | None = None) -> None:
        """Put an empty cache in the place of this one: built beside, then swapped (local).

        With the `generation` in which damage was seen: nothing, if it was rebuilt since then.
        """
        with self._writing:
            if generation not in (None, self.generation):
                return
            self.generation += 1
            self.cache.parent.mkdir(parents=True, exist_ok=True)
            for leftover in self.cache.parent.glob(f".{self.cache.name}-*"):
                shutil.rmtree(leftover, ignore_errors=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{self.cache.name}-", dir=self.cache.parent))
            fresh, old = beside / "fresh", beside / "old"
            self._init(fresh)
            if self.cache.exists():
                self.cache.rename(old)
                self.rebuilds += 1
            fresh.rename(self.cache)
            shutil.rmtree(beside, ignore_errors=True)

    def _init(self, folder: Path) -> None:
        arguments = [f"--git-dir={folder}", "init", "--quiet", "--bare", "--template="]
        done = self._done(arguments, b"", None, network=False)
        if done.code != 0:
            raise StateError(f"git init: {done.words}", where=str(folder))

    def close(self) -> None:
        """End running git children at once; later calls raise RemoteUnavailable."""
        self._process.interrupt()

    @property
    def crowded(self) -> bool:
        """So many fetches are kept that git gets slow: time to `rebuild` (local)."""
        return sum(1 for _ in self.cache.glob("objects/pack/*.pack")) > _MOST_PACKS

    def stored_bytes(self) -> int:
        """What the cache's objects take on the disk: even the smallest takes a block (local)."""
        size = 0
        for folder, _, names in os.walk(self.cache / "objects"):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    size += max(_BLOCK, os.stat(f"{folder}/{name}").st_size)  # noqa: PTH116
        return size

    @property
    def filters(self) -> bool:
        """Whether the remote leaves blobs out when asked; True until it was seen not to (local)."""
        return not (self.cache / _UNFILTERED).exists()

    def _sound(self) -> bool:
        if not (self.cache / "objects").is_dir() or self.crowded:
            return False
        try:
            bare = self.run(["rev-parse", "--is-bare-repository"])
            # Reading every kept commit's tree finds truncated packs and lost objects.
            self.run(["for-each-ref", "--format=%(tree)"])
        except DamagedCache:
            return False
        return bare.strip() == b"true"

    # Doors for any git command

    def run(
        self, arguments: Sequence[str], *, stdin: bytes = b"", deadline: float | None = None
    ) -> bytes:
        """Standard output of a local git command; DamagedCache with git's words if it fails."""
        done = self._done(arguments, stdin, deadline, network=False)
        if done.code != 0:
            raise DamagedCache(f"git {arguments[0]}: {done.words}", where=str(self.cache))
        return done.output

    def ask(
        self, arguments: Sequence[str], *, stdin: bytes = b"", deadline: float | None = None
    ) -> Done:
        """A git command that talks to the remote (named `origin`); errors are translated."""
        done = self._done(arguments, stdin, deadline, network=True)
        if done.code == 0:
            return done
        message = f"git {arguments[0]}: {done.words or f'exit code {done.code}'}"
        if _GONE.search(done.words):
            raise MissingRef(message, where=self.address.shown)
        if _DAMAGE.search(done.words) and not self._sound():
            raise DamagedCache(message, where=str(self.cache))
        raise RemoteUnavailable(self._process.advised(message), where=self.address.shown)

    def _done(
        self, arguments: Sequence[str], stdin: bytes, deadline: float | None, *, network: bool
    ) -> Done:
        limit = self.deadline if deadline is None else deadline
        done = self._process.run(arguments, stdin=stdin, deadline=limit, network=network)
        if done.code != 0 and LOCKED.search(done.words):
            with self._writing:
                if remove_locks(self.cache, done.words):
                    done = self._process.run(
                        arguments, stdin=stdin, deadline=limit, network=network
                    )
        if done.code != 0 and done.disk_full:
            raise StateError(f"git {arguments[0]}: {done.words}", where=str(self.cache))
        return done

    def child(
        self, arguments: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """A git child whose pipes the caller drains; `environment` is added to its own."""
        return self._process.spawn(arguments, network=False, environment=environment)

    def words(self, errors: bytes) -> str:
        """What git said, on one line and without credentials."""
        return self._process.words(errors)

    # Reading the remote

    def heads(self, *, deadline: float | None = None) -> dict[Branch, Commit]:
        """Every branch of the remote and its tip; names that no Branch can have are left out."""
        done = self.ask(["ls-remote", "--quiet", "--heads", "origin"], deadline=deadline)
        found: dict[Branch, Commit] = {}
        for line in done.output.decode(errors="surrogateescape").splitlines():
            oid, _, ref = line.partition("\t")
            with contextlib.suppress(InvalidName):
                found[Branch(ref.removeprefix("refs/heads/"))] = Commit(oid)
        return found

    def fetch(self, commit: Commit, *, deadline: float | None = None) -> None:
        """Bring one commit and its trees (depth 1, no blobs) and keep it; nothing if it is here.

        MissingRef if the remote no longer has it.
        """
        if self.has(commit):
            self._keep(commit)
            return
        self._fetch_history(commit, 1, deadline)

    def fetch_tip(self, branch: Branch, *, deadline: float | None = None) -> Commit:
        """The branch's present tip on the remote, fetched as by `fetch`; MissingRef if deleted."""
        # The ref is listed alone and fetched by id: what is returned is what was fetched.
        listed = self.ask(["ls-remote", "--quiet", "origin", branch.ref], deadline=deadline)
        for line in listed.output.decode(errors="surrogateescape").splitlines():
            oid, _, ref = line.partition("\t")
            if ref == branch.ref:
                commit = Commit(oid)
                self.fetch(commit, deadline=deadline)
                return commit
        raise MissingRef(f"no branch {branch} on the remote", where=self.address.shown)

    def deepen(self, commit: Commit, depth: int, *, deadline: float | None = None) -> None:
        """Bring the history of a kept commit, `depth` commits deep: commits and trees only."""
        self._fetch_history(commit, depth, deadline)

    def _fetch_history(self, commit: Commit, depth: int, deadline: float | None) -> None:
        # Two of these at once would contend for shallow.lock, and each take it for a dead one's.
        limit = self.deadline if deadline is None else deadline
        if not self._writing.acquire(timeout=limit):
            raise RemoteUnavailable(
                f"another branch was being fetched for {limit:g} s", where=self.address.shown
            )
        try:
            arguments = [f"--depth={depth}", "origin", f"+{commit}:refs/kept/{commit}"]
            self._fetch(arguments, deadline=limit)
        finally:
            self._writing.release()

    def prefetch(self, oids: Iterable[str], *, deadline: float | None = None) -> int:
        """Bring those of the blobs that are not here, in one round trip; how many there were.

        Runs beside other calls: a large download of one branch keeps no other branch waiting.
        """
        wanted = self.missing(oids)
        if wanted:
            stdin = "".join(f"{oid}\n" for oid in wanted).encode()
            self._fetch(
                ["origin", "--stdin"],
                stdin=stdin,
                deadline=deadline,
                config=["-c", "fetch.negotiationAlgorithm=noop"],
            )
        return len(wanted)

    def _fetch(
        self,
        arguments: list[str],
        *,
        stdin: bytes = b"",
        deadline: float | None,
        config: Sequence[str] = (),
    ) -> None:
        done = self.ask([*config, *FETCH, *arguments], stdin=stdin, deadline=deadline)
        if "filtering not recognized" in done.words:
            (self.cache / _UNFILTERED).touch()

    # Reading the cache

    def has(self, commit: Commit) -> bool:
        """Whether commit and root tree are here (local)."""
        return not self.missing([f"{commit}^{{tree}}"])

    def missing(self, oids: Iterable[str]) -> list[str]:
        """Those of the objects that are not in the cache, without repeats (local)."""
        return [oid for oid, size in self._look_up(oids).items() if size is None]

    def sizes(self, oids: Iterable[str]) -> dict[str, int]:
        """The size of each of the objects, which must be here (local)."""
        found = self._look_up(oids)
        if lost := [oid for oid, size in found.items() if size is None]:
            raise self._damaged(f"{len(lost)} objects are not here, such as {lost[0]}")
        return {oid: size for oid, size in found.items() if size is not None}

    def _look_up(self, oids: Iterable[str]) -> dict[str, int | None]:
        wanted = list(dict.fromkeys(oids))
        if not wanted:
            return {}
        stdin = "".join(f"{oid}\n" for oid in wanted).encode()
        listed = self.run(["cat-file", "--batch-check=%(objectsize)"], stdin=stdin).splitlines()
        return {
            oid: int(line) if line.isdigit() else None
            for oid, line in zip(wanted, listed, strict=True)
        }

    def ls_tree(self, commit: Commit, path: str = "", *, recursive: bool = False) -> list[Entry]:
        """What the folder `path` holds (all of it if `recursive`), full paths; [] if absent."""
        arguments = ["ls-tree", "-z", "--full-tree", *(["-r"] if recursive else []), commit]
        if path:
            arguments += ["--", f"{path.rstrip('/')}/"]
        return parse_entries(self.run(arguments))

    def ls_paths(
        self, commit: Commit, paths: Sequence[str], *, recursive: bool = False
    ) -> list[Entry]:
        """The entries of exactly these paths, those that exist (below them if `recursive`)."""
        depth = ["-r"] if recursive else []
        return parse_entries(
            self.run(["ls-tree", "-z", "--full-tree", *depth, commit, "--", *paths])
        )

    def history(self, commit: Commit, limit: int) -> list[Commit]:
        """The commit and its first parents, newest first, as far as they are here (local)."""
        listed = self.run(["rev-list", "--first-parent", f"--max-count={limit}", commit, "--"])
        return [Commit(line) for line in listed.decode().split()]

    def shallow(self) -> frozenset[str]:
        """Commits whose parents were not fetched (local)."""
        file = self.cache / "shallow"
        return frozenset(file.read_text().split()) if file.exists() else frozenset()

    def read_blob(self, oid: str, *, deadline: float | None = None) -> bytes:
        """A blob's bytes, brought from the remote if need be; for small ones: all in memory."""
        self.prefetch([oid], deadline=deadline)
        return self.run(["cat-file", "blob", oid], deadline=deadline)

    @contextlib.contextmanager
    def blobs(self, *, deadline: float | None = None) -> Iterator[Blobs]:
        """A reader that streams any number of local objects through one git process."""
        limit = self.deadline if deadline is None else deadline
        with (
            self._process.spawn(["cat-file", "--batch"], network=False) as child,
            Blobs.within(child, limit, self._damaged) as reader,
        ):
            yield reader

    def _damaged(self, message: str) -> DamagedCache:
        return DamagedCache(message, where=str(self.cache))

    # Writing

    def _keep(self, commit: Commit) -> None:
        with self._writing:
            self.run(["update-ref", f"refs/kept/{commit}", commit])

    def forget_all_but(self, commits: Iterable[Commit]) -> None:
        """Drop the kept refs of other commits, so that there are never many (local)."""
        wanted = {f"refs/kept/{commit}" for commit in commits}
        with self._writing:
            refs = self.run(["for-each-ref", "--format=%(refname)", "refs/kept/"]).decode().split()
            stdin = "".join(f"delete {ref}\n" for ref in refs if ref not in wanted)
            if stdin:
                self.run(["update-ref", "--stdin"], stdin=stdin.encode())

    def push(
        self, commit: Commit, ref: str, expected: Commit | None, *, deadline: float | None = None
    ) -> None:
        """Set the remote's `ref` from `expected` (None: it must not exist) to `commit`.

        StaleTip: the ref is not at `expected`. PushRefused: not allowed, waiting will not help.
        RemoteUnavailable: the outcome is unknown or the remote is away.
        """
        arguments = ["push", "--porcelain", "--no-verify", "--no-follow-tags", "--no-thin"]
        arguments += [f"--force-with-lease={ref}:{expected or ''}", "origin", f"{commit}:{ref}"]
        with self._writing:
            done = self._done(arguments, b"", deadline, network=False)
        if done.code != 0:
            raise push_error(done, self._process, ref)
