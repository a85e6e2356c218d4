"""With trust.signed_by only what somebody there signed is served, now and after a restart."""

from __future__ import annotations

from pathlib import Path

import pytest
from gitrepo import Remote
from running import Gateway, serve_py
from signing import SshKey, nobody_signs
from waiting import wait_until

pytestmark = pytest.mark.needs("ssh-keygen")


def trouble(gateway: Gateway, branch: str) -> str:
    return gateway.branch(branch)["repository"]["text"] or ""


def test_unsigned_content_is_quarantined_and_the_gateways_own_commits_are_no_news(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    ada = SshKey(tmp_path / "keys", "ada@example.org")
    (tmp_path / "signers").write_text(ada.allowed)
    ada.signs(remote)
    signed = remote.commit("prod", serve_py("signed"))
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 1}},
        trust={"signed_by": str(tmp_path / "signers")},
    )
    gateways.append(gateway)
    gateway.start()
    assert gateway.predict().json()["predictions"] == ["signed"]
    assert "signed by ada@example.org, and loaded" in gateway.words()
    # Its own commit, which nobody signs, is the tip from here on.
    wait_until(lambda: remote.tip("prod") != signed, describe=gateway.words)
    # More of them may follow, so it is the tip of then.
    wait_until(lambda: gateway.branch("prod")["tip"] == remote.tip("prod"), describe=gateway.words)
    assert trouble(gateway, "prod") == ""

    nobody_signs(remote)
    unsigned = remote.commit("prod", serve_py("unsigned"))
    told = f"commit {unsigned} is not signed"
    wait_until(lambda: told in trouble(gateway, "prod"), describe=gateway.words)
    assert gateway.metric('gateway_branch_quarantined{branch="prod"}') == 1
    answer = gateway.predict().json()
    assert (answer["predictions"], answer["commit"]) == (["signed"], signed)

    gateway.stop()
    gateway.start()
    wait_until(lambda: told in trouble(gateway, "prod"), describe=gateway.words)
    answer = gateway.predict().json()
    assert (answer["predictions"], answer["commit"]) == (["signed"], signed)

    # Nobody is allowed any more: what served last is not loaded again either.
    gateway.stop()
    other = SshKey(tmp_path / "keys", "grace@example.org")
    (tmp_path / "signers").write_text(other.allowed)
    gateway.start(ready=False)
    wait_until(lambda: told in trouble(gateway, "prod"), describe=gateway.words)
    assert gateway.branch("prod")["serving"] is None
    assert "what served before is not loaded" in gateway.words()


def test_pickles_and_code_are_refused_where_the_operator_says_so(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("code"))
    remote.commit("pickled", {"models/model.pkl": b"cposix\nsystem\n(S'touch ran'\ntR."})
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 1}, "pickled": {"weight": 1}},
        trust={"formats": ["skops", "onnx"]},
    )
    gateways.append(gateway)
    gateway.start(ready=False)

    def reason(branch: str) -> str:
        return str(gateway.branch(branch)["reason"])

    wait_until(lambda: "src/serve.py is code" in reason("prod"), describe=gateway.words)
    wait_until(lambda: "the format pickle" in reason("pickled"), describe=gateway.words)
    assert not list(tmp_path.rglob("ran"))
