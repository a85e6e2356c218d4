"""Whether somebody who may sign has vouched for what a commit serves, before anything is loaded.

What counts is the commit that brought the content: on the way back along first parents, the one
whose first parent serves something else. The tip may be anybody's, as the gateway's own monitoring
commits are nobody's. Of a merge, the merge's own signature counts, or that of the commit that
brought the same content on the merged side. A signature further up counts for nothing: whoever
signs a correction of the README has not looked at the model below it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.config.trust import TrustConfig
from gateway.errors import (
    ConfigError,
    ContentAway,
    ContentError,
    GatewayError,
    RemoteUnavailable,
    StateError,
)
from gateway.names import Branch, Commit, Fingerprint
from gateway.repositories.git import DamagedCache, Git
from gateway.repositories.provenance import WINDOW, follows, root_of, roots
from gateway.repositories.signers import Signers
from gateway.repositories.trees import Entry

log = logging.getLogger(__name__)

#: Commits that are looked back: monitoring commits may be many.
_STEPS = (2, 50, WINDOW, 5_000, 50_000)
_KEPT = 10
_SIGNED = re.compile(rb"^gpgsig", re.MULTILINE)
#: Not rev-list, which some versions of git do not tell who may sign with ssh.
_QUESTION = ("log", "--no-walk", "-s", "--no-show-signature", "--format=%G?%x00%GS%x00%GF")
_WORDS = {
    "N": "is not signed",
    "U": "is signed by a key that trust.signed_by does not name",
    "E": "is signed by a key that trust.signed_by does not name",
    "B": "bears a signature that is not its own",
    "X": "bears a signature that has expired",
    "Y": "is signed by a key that has expired",
    "R": "is signed by a key that was revoked",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """What git says of a commit's: a letter, `G` if it is good, and whose it is."""

    letter: str
    signer: str
    key: str

    @property
    def good(self) -> bool:
        return self.letter == "G"

    @property
    def words(self) -> str:
        key = f" ({self.key})" if self.key and self.letter != "N" else ""
        return _WORDS.get(self.letter, "bears a signature that cannot be checked") + key


class Vouching:
    """The rule for each branch, the signers, and what they were found to vouch for.

    Remembered are the commits themselves, so that after a restart their signatures are checked
    again, by the keys of then, without the repository.
    """

    def __init__(
        self,
        config: TrustConfig,
        state: Path,
        environment: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._signers = Signers(config.signed_by or (), state / "signers")
        self._path = environment.get("PATH")
        # Commits alone, without trees or parents: they must not stand in the cache of fetches.
        self._desk = Git(state / "git" / "signed", str(state), environment)
        self._file = state / "vouched.json"
        self._known: dict[str, dict[str, dict[str, str]]] | None = None
        self._guard = threading.Lock()
        self._clock = clock

    def open(self) -> None:
        """ConfigError if the files, or the tools to check by them, are not there."""
        self._signers.require(self._path)

    def close(self) -> None:
        self._desk.close()

    def require(
        self,
        git: Git,
        branch: Branch,
        tip: Commit,
        entries: Iterable[Entry],
        found: Fingerprint,
        *,
        deadline: float,
        where: str,
    ) -> None:
        """ContentError, or ContentAway where a key may be added, if nobody vouched for it."""
        if self._config.signers_of(branch) is None:
            return
        try:
            if self._remembers(git, branch, tip, found):
                return
            search = _Search(git, tip, root_of(entries), self.signature, where)
            commit = search.run(self._clock() + deadline, self._clock)
        except ConfigError as error:  # the file is away, or half written
            raise ContentAway(f"not loaded: {error}", where=where) from error
        self._remember(branch, found, tip, commit, git.run(["cat-file", "commit", commit]))
        said = {"branch": branch, "commit": commit}
        log.info("signed by %s, and loaded", search.signer(commit), extra=said)

    def objection(self, branch: Branch, found: Fingerprint) -> str | None:
        """Why what was served earlier must not be served again, without asking any remote."""
        if self._config.signers_of(branch) is None:
            return None
        entry = self._entry(branch, found)
        if entry is None:
            return "nobody is known to have signed it"
        try:
            signature = self._signature_of(entry)
        except (GatewayError, OSError) as error:
            return f"its signature cannot be checked: {error}"
        return None if signature.good else f"commit {entry['commit']} {signature.words}"

    def signature(self, git: Git, commit: Commit) -> Signature:
        return self._checked(commit, git.run(["cat-file", "commit", commit]))

    def _signature_of(self, entry: Mapping[str, str]) -> Signature:
        return self._checked(Commit(entry["commit"]), base64.b64decode(entry["raw"]))

    def _checked(self, commit: Commit, raw: bytes) -> Signature:
        desk, asked = self._desk, self._signers.asked()
        desk.prepare()
        written = desk.run(["hash-object", "-t", "commit", "-w", "--stdin"], stdin=raw)
        if written.decode().strip() != commit:
            return Signature("B", "", "")
        with desk.child([*asked.settings, *_QUESTION, commit], asked.environment) as child:
            try:
                output, errors = child.communicate(timeout=desk.deadline)
            except subprocess.TimeoutExpired:
                text = f"checking the signature of {commit} took longer than {desk.deadline:g} s"
                raise StateError(text, where=str(desk.cache)) from None
        if child.returncode != 0:
            raise DamagedCache(f"git log: {desk.words(errors)}", where=str(desk.cache))
        parts = output.decode(errors="replace").strip("\n").split("\0")
        letter, signer, key = parts if len(parts) == 3 else ("", "", "")
        if letter == "N" and _SIGNED.search(raw.partition(b"\n\n")[0]):
            letter = ""  # which git also says where it could not ask
        return Signature(letter, signer, key)

    # What is remembered

    def _remembers(self, git: Git, branch: Branch, tip: Commit, found: Fingerprint) -> bool:
        """Whether this is the tip that was vouched for, or a quiet commit on it."""
        entry = self._entry(branch, found)
        if entry is None or not follows(git, tip, Commit(entry["tip"])):
            return False
        if not self._signature_of(entry).good:
            return False
        self._remember(branch, found, tip, Commit(entry["commit"]), base64.b64decode(entry["raw"]))
        return True

    def _entry(self, branch: Branch, found: Fingerprint) -> dict[str, str] | None:
        with self._guard:
            return self._read().get(branch, {}).get(found)

    def _read(self) -> dict[str, dict[str, dict[str, str]]]:
        if self._known is None:
            self._known = {}
            with contextlib.suppress(OSError, ValueError, RecursionError):
                self._known = _parsed(json.loads(self._file.read_bytes()))
        return self._known

    def _remember(
        self, branch: Branch, found: Fingerprint, tip: Commit, commit: Commit, raw: bytes
    ) -> None:
        entry = {"tip": tip, "commit": commit, "raw": base64.b64encode(raw).decode()}
        with self._guard:
            known = self._read()
            of_branch = {k: v for k, v in known.get(branch, {}).items() if k != found}
            known[branch] = dict([*of_branch.items(), (found, dict(entry))][-_KEPT:])
            beside = self._file.with_name(f".{self._file.name}")
            beside.write_text(json.dumps(known, indent=1))
            beside.replace(self._file)


def _parsed(document: Any) -> dict[str, dict[str, dict[str, str]]]:
    """What is not as it was written is as good as nothing."""
    try:
        return {
            branch: {
                found: {key: str(entry[key]) for key in ("tip", "commit", "raw")}
                for found, entry in entries.items()
            }
            for branch, entries in document.items()
        }
    except (AttributeError, KeyError, TypeError):
        return {}


class _Search:
    """For a commit that brought the content and bears a good signature."""

    def __init__(
        self,
        git: Git,
        tip: Commit,
        wanted: frozenset[tuple[str, str, str]],
        signature: Callable[[Git, Commit], Signature],
        where: str,
    ) -> None:
        self._git = git
        self._tip = tip
        self._wanted = wanted
        self._signature = signature
        self._where = where
        self._judged: dict[Commit, Signature] = {}

    def run(self, end: float, clock: Callable[[], float]) -> Commit:
        """The commit; ContentError naming those that brought it, none of which may count."""
        git, tip = self._git, self._tip
        for step in (0, *_STEPS):
            seen = len(git.history(tip, _STEPS[-1]))
            if step > seen:
                if clock() > end:
                    raise RemoteUnavailable(f"no time left for the history of {tip}")
                git.deepen(tip, step, deadline=end - clock())
            elif step:
                continue
            found, cut = self._along(tip, set())
            if found is not None:
                return found
            # Content that was there before and came back: its first coming counts too, if recent.
            if not cut or (self._judged and max(step, seen) >= WINDOW):
                break
        raise self._refusal()

    def signer(self, commit: Commit) -> str:
        return self._judged[commit].signer

    def _along(self, start: Commit, seen: set[Commit]) -> tuple[Commit | None, bool]:
        """The commit, if it is there; else whether more history may hold it."""
        git = self._git
        commits = git.history(start, _STEPS[-1])
        served = [root == self._wanted for _, root in roots(git, commits)]
        shallow = git.shallow()
        cut = commits[-1] in shallow
        for index, commit in enumerate(commits):
            last = index + 1 == len(commits)
            if not served[index] or commit in seen or (last and commit in shallow):
                continue
            if not last and served[index + 1]:
                continue
            seen.add(commit)
            if self._is_good(commit):
                return commit, False
            for parent in self._merged(commit):
                if not git.has(parent):
                    cut = True
                elif roots(git, [parent])[0][1] == self._wanted:
                    found, deeper = self._along(parent, seen)
                    if found is not None:
                        return found, False
                    cut = cut or deeper
        return None, cut

    def _is_good(self, commit: Commit) -> bool:
        if commit not in self._judged:
            self._judged[commit] = self._signature(self._git, commit)
        return self._judged[commit].good

    def _merged(self, commit: Commit) -> list[Commit]:
        raw = self._git.run(["cat-file", "commit", commit]).decode(errors="replace")
        head = raw.split("\n\n", 1)[0].splitlines()
        return [Commit(line[7:]) for line in head if line.startswith("parent ")][1:]

    def _refusal(self) -> ContentError:
        if not self._judged:
            return ContentError(
                f"the commit that brought what it serves is not among its last {_STEPS[-1]}, so"
                " nobody can be found to have signed it",
                where=self._where,
            )
        said = "; ".join(f"commit {c} {s.words}" for c, s in list(self._judged.items())[:3])
        cure = (
            "what it serves must come in a commit signed by somebody in trust.signed_by of"
            " gateway.yaml: commit it again with `git commit --amend -S`, or merge it with"
            " `git merge -S --no-ff`"
        )
        # Keys may be added to the file: that is worth another look.
        kind = ContentError if all(s.letter == "N" for s in self._judged.values()) else ContentAway
        return kind(f"not loaded, since {said}; {cure}", where=self._where)
