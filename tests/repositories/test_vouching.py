"""Whose signature counts for what is served: real commits, signed with real keys."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gitrepo import Remote
from gitrepo import git as person
from signing import GpgKey, SshKey, gpg_key, nobody_signs

from gateway.config import OperatorConfig
from gateway.config.trust import TrustConfig
from gateway.errors import ConfigError, ContentAway, ContentError
from gateway.names import Branch, Commit
from gateway.repositories.arrivals import Arrivals, Bounds
from gateway.repositories.credentials import Credentials
from gateway.repositories.following import repository_of
from gateway.repositories.git import Git
from gateway.repositories.move import Move
from gateway.repositories.remembered import Remembered
from gateway.repositories.snapshots import Snapshots
from gateway.repositories.vouching import Vouching

pytestmark = pytest.mark.needs("ssh-keygen")

PROD, DEV = Branch("prod"), Branch("dev")


def signed_by(*files: Path, **settings: list[str]) -> TrustConfig:
    """As it would stand in gateway.yaml."""
    return TrustConfig.model_validate({"signed_by": list(map(str, files)), **settings})


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[SshKey, SshKey]:
    """Ada's, which is allowed, and Mallory's."""
    folder = tmp_path_factory.mktemp("keys")
    return SshKey(folder, "ada@example.org"), SshKey(folder, "mallory@example.org")


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """A small repository: every test makes its commits."""
    return Remote(tmp_path / "remote.git")


class Gate:
    """Arrivals with a rule, over a state that may be opened again."""

    def __init__(self, folder: Path, remote: Remote, environment: dict[str, str]) -> None:
        self.signers = folder / "allowed_signers"
        self.state = folder / "state"
        self.state.mkdir()
        self.trust = signed_by(self.signers)
        self._remote, self._environment = remote, environment

    def open(self, url: str | None = None) -> Arrivals:
        vouching = Vouching(self.trust, self.state, self._environment)
        vouching.open()
        made = Arrivals(
            Git(self.state / "git", url or str(self._remote.path), self._environment, deadline=120),
            Snapshots(self.state / "snapshots"),
            Remembered(self.state / "branches.json"),
            Bounds(),
            vouching=vouching,
        )
        made.open()
        return made

    def take(self, branch: Branch = PROD, arrivals: Arrivals | None = None) -> Move:
        made = arrivals or self.open()
        move, lease = made.take(branch, Commit(self._remote.tip(branch)), None)
        lease.release()
        return move

    def refused(self, branch: Branch = PROD) -> str:
        """Why the tip is not taken; nothing of it was written out."""
        with pytest.raises(ContentError) as caught:
            self.take(branch)
        snapshots = self.state / "snapshots"
        assert not [path for path in snapshots.glob("*") if not path.name.startswith(".")]
        return str(caught.value)


@pytest.fixture
def gate(
    tmp_path: Path, remote: Remote, environment: dict[str, str], keys: tuple[SshKey, SshKey]
) -> Gate:
    made = Gate(tmp_path, remote, environment)
    made.signers.write_text(keys[0].allowed)
    return made


@pytest.fixture
def ada(keys: tuple[SshKey, SshKey]) -> SshKey:
    return keys[0]


@pytest.fixture
def mallory(keys: tuple[SshKey, SshKey]) -> SshKey:
    return keys[1]


def model(text: str) -> dict[str, bytes | str | None]:
    return {"models/model.pkl": text}


def test_a_commit_signed_by_somebody_who_may_is_taken(
    gate: Gate, remote: Remote, ada: SshKey
) -> None:
    ada.signs(remote)
    tip = remote.commit("prod", model("one"))
    assert gate.take().tip == tip


def test_an_unsigned_commit_is_refused_and_so_is_one_by_another_key(
    gate: Gate, remote: Remote, ada: SshKey, mallory: SshKey
) -> None:
    first = remote.commit("prod", model("one"))
    assert f"prod at {first}: not loaded, since commit {first} is not signed;" in gate.refused()
    mallory.signs(remote)
    second = remote.commit("prod", model("two"))
    reason = gate.refused()
    assert f"commit {second} is signed by a key that trust.signed_by does not name" in reason
    assert "SHA256:" in reason
    assert "git commit --amend -S" in reason


def test_a_key_that_is_added_later_counts_without_another_push(
    gate: Gate, remote: Remote, ada: SshKey, mallory: SshKey
) -> None:
    mallory.signs(remote)
    remote.commit("prod", model("one"))
    arrivals = gate.open()
    with pytest.raises(ContentAway):
        gate.take(arrivals=arrivals)
    gate.signers.write_text(ada.allowed + mallory.allowed)
    gate.take(arrivals=arrivals)


def test_a_commit_changed_after_it_was_signed_is_refused(
    gate: Gate, remote: Remote, ada: SshKey
) -> None:
    ada.signs(remote)
    signed = remote.commit("prod", model("one"))
    raw = person(remote.person, "cat-file", "commit", signed)
    forged = person(
        *(remote.person, "hash-object", "-t", "commit", "-w", "--stdin"),
        stdin=raw.replace("change", "chance").encode() + b"\n",
    )
    person(remote.person, "push", "--quiet", "--force", "origin", f"{forged}:refs/heads/prod")
    assert f"commit {forged} bears a signature that is not its own" in gate.refused()


def test_quiet_commits_of_nobody_change_nothing(gate: Gate, remote: Remote, ada: SshKey) -> None:
    """As the gateway's own are: also for a gateway that never saw what is below them."""
    ada.signs(remote)
    remote.commit("prod", model("one"))
    arrivals = gate.open()
    known = gate.take(arrivals=arrivals)
    nobody_signs(remote)
    for number in range(3):
        tip = remote.commit("prod", {f"monitoring/predictions/{number}.csv": "ts\n"})
        move = gate.take(arrivals=arrivals)
        assert (move.tip, move.fingerprint) == (tip, known.fingerprint)
    for name in ("vouched.json", "branches.json"):
        (gate.state / name).unlink()
    assert gate.take().fingerprint == known.fingerprint


def test_a_signature_above_it_does_not_vouch_for_what_came_unsigned(
    gate: Gate, remote: Remote, ada: SshKey
) -> None:
    brought = remote.commit("prod", model("one"))
    ada.signs(remote)
    remote.commit("prod", {"README.md": "a correction"})
    assert f"commit {brought} is not signed" in gate.refused()


def test_a_merge_counts_by_its_own_signature_or_by_what_it_brought(
    gate: Gate, remote: Remote, ada: SshKey
) -> None:
    ada.signs(remote)
    remote.commit("prod", model("one"))
    remote.commit("dev", model("two"), start="prod")
    nobody_signs(remote)
    remote.merge("dev", "prod")
    assert gate.take(PROD).fingerprint == gate.take(DEV).fingerprint
    brought = remote.commit("dev", model("three"))
    forge = remote.merge("dev", "prod")
    with pytest.raises(ContentError) as caught:
        gate.take()
    assert f"commit {forge} is not signed; commit {brought} is not signed" in str(caught.value)
    remote.commit("dev", model("four"))
    ada.signs(remote)
    signed = remote.merge("dev", "prod")
    assert gate.take().tip == signed


def test_what_a_merge_mixed_needs_the_merges_own_signature(
    gate: Gate, remote: Remote, ada: SshKey
) -> None:
    """Both sides are signed, and nobody has vouched for the two together."""
    ada.signs(remote)
    remote.commit("prod", model("one"))
    remote.commit("dev", {"metrics/model.json": "{}"}, start="prod")
    remote.commit("prod", {"src/serve.py": "ROW_WISE = True\n"})
    nobody_signs(remote)
    merged = remote.merge("dev", "prod")
    assert f"commit {merged} is not signed" in gate.refused()


def test_content_that_comes_back_is_as_good_as_when_it_came(
    gate: Gate, remote: Remote, ada: SshKey
) -> None:
    ada.signs(remote)
    remote.commit("prod", model("one"))
    second = remote.commit("prod", model("two"))
    nobody_signs(remote)
    remote.revert("prod", second)
    gate.take()


def test_another_branch_of_the_same_commits_is_judged_alike(
    gate: Gate, remote: Remote, ada: SshKey
) -> None:
    ada.signs(remote)
    remote.commit("prod", model("one"))
    nobody_signs(remote)
    remote.commit("dev", model("two"), start="prod")
    gate.trust = signed_by(gate.signers, branches=["prod"])
    gate.take(PROD)
    gate.take(DEV)
    gate.trust = signed_by(gate.signers)
    with pytest.raises(ContentError):
        gate.take(DEV)


def test_after_a_restart_what_was_vouched_for_is_checked_again_without_the_repository(
    gate: Gate, remote: Remote, ada: SshKey, mallory: SshKey
) -> None:
    ada.signs(remote)
    remote.commit("prod", model("one"))
    move = gate.take()
    away = gate.open(str(remote.path.with_name("away.git")))
    assert away.last_good(PROD, None) is not None
    assert away.objection(PROD, move.fingerprint) is None
    gate.signers.write_text(mallory.allowed)
    assert away.last_good(PROD, None) is None
    assert "does not name" in str(away.objection(PROD, move.fingerprint))
    gate.signers.unlink()
    assert "cannot be read" in str(away.objection(PROD, move.fingerprint))


def test_what_was_served_before_the_rule_was_made_is_not_restored(
    gate: Gate, remote: Remote
) -> None:
    remote.commit("prod", model("one"))
    rule, gate.trust = gate.trust, TrustConfig()
    move = gate.take()
    gate.trust = rule
    arrivals = gate.open()
    assert arrivals.last_good(PROD, None) is None
    assert arrivals.objection(PROD, move.fingerprint) == "nobody is known to have signed it"


def test_a_record_of_who_vouched_that_was_tampered_with_is_worth_nothing(
    gate: Gate, remote: Remote, ada: SshKey
) -> None:
    ada.signs(remote)
    remote.commit("prod", model("one"))
    move = gate.take()
    file = gate.state / "vouched.json"
    other = remote.commit("prod", model("two"))
    file.write_text(file.read_text().replace(move.commit, other))
    assert "not its own" in str(gate.open().objection(PROD, move.fingerprint))


@pytest.fixture
def grace() -> Iterator[GpgKey]:
    with gpg_key() as key:
        yield key


@pytest.mark.needs("gpg")
@pytest.mark.parametrize("armoured", [True, False])
def test_keys_of_gpg_count_beside_those_of_ssh(
    gate: Gate, remote: Remote, ada: SshKey, grace: GpgKey, armoured: bool
) -> None:
    grace.signs(remote)
    first = remote.commit("prod", model("one"))
    assert f"commit {first} is signed by a key that trust.signed_by does not name" in gate.refused()
    file = gate.signers.with_name("keys")
    file.write_bytes(grace.exported(armoured=armoured))
    gate.trust = signed_by(gate.signers, file)
    gate.take()
    ada.signs(remote)
    remote.commit("prod", model("two"))
    gate.take()


@pytest.mark.needs("gpg")
def test_the_keyring_of_the_gateways_own_user_does_not_count(
    gate: Gate, remote: Remote, environment: dict[str, str], grace: GpgKey
) -> None:
    grace.signs(remote)
    remote.commit("prod", model("one"))
    home = Path(environment["HOME"]) / ".gnupg"
    home.mkdir(mode=0o700)
    (home / "keys.gpg").write_bytes(grace.exported(armoured=False))
    (home / "gpg.conf").write_text(f"keyring {home / 'keys.gpg'}\ntrust-model always\n")
    assert "does not name" in gate.refused()


def test_a_signature_that_nothing_here_can_check_is_not_taken_for_none(
    gate: Gate, remote: Remote, ada: SshKey, environment: dict[str, str]
) -> None:
    """Nobody would sign such a commit once more; it is looked at again instead."""
    ada.signs(remote)
    signed = Commit(remote.commit("prod", model("one")))
    tools = remote.path.with_name("tools")
    tools.mkdir()
    (tools / "git").symlink_to(str(shutil.which("git")))
    without = Vouching(gate.trust, gate.state, {**environment, "PATH": str(tools)})
    git = Git(gate.state / "git", str(remote.path), environment)
    git.prepare()
    git.fetch(signed)
    signature = without.signature(git, signed)
    assert (signature.good, signature.letter == "N") == (False, False)


def test_a_start_without_the_keys_or_with_a_folder_says_what_is_missing(
    tmp_path: Path, environment: dict[str, str], open_as: Callable[..., Credentials]
) -> None:
    def opened(address: str, file: Path) -> None:
        settings = {"repository": address, "state_dir": str(tmp_path)}
        operator = OperatorConfig.model_validate({**settings, "trust": {"signed_by": str(file)}})
        repository_of(address, operator, environment, open_as())

    signers = tmp_path / "signers"
    with pytest.raises(ConfigError, match="signers: cannot be read: No such file"):
        opened("https://git.example.org/x.git", signers)
    signers.write_text("nothing of the kind\n")
    with pytest.raises(ConfigError, match="must hold allowed signers"):
        opened("https://git.example.org/x.git", signers)
    with pytest.raises(ConfigError, match="needs a git repository"):
        opened(f"folder://{tmp_path}", signers)
    signers.write_text("ada@example.org ssh-ed25519 AAAA\n")
    environment["PATH"] = str(tmp_path)
    with pytest.raises(ConfigError, match="ssh-keygen checks, which is not installed here"):
        opened("https://git.example.org/x.git", signers)
