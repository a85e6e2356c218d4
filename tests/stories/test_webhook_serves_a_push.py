"""A push is served at once, long before any poll: by the hook of deploy/git.md, as printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx
from gitrepo import Remote
from running import Gateway, recorded, serve_py
from waiting import wait_until

PAGE = (Path(__file__).parents[2] / "deploy" / "git.md").read_text()
SECRET = "correct horse battery staple"


def install(remote: Remote, url: str, secret: Path) -> None:
    """The post-receive hook of the page, with this gateway's address and secret file in it."""
    (script,) = re.findall(r"^```python\n(#!.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for name, value in [("URL", f"{url}/webhooks/git"), ("SECRET_FILE", str(secret))]:
        script, found = re.subn(rf'^{name} = ".*"$', f'{name} = "{value}"', script, flags=re.M)
        assert found == 1, name
    script = script.replace("#!/usr/bin/env python3", f"#!{sys.executable}")
    hook = remote.path / "hooks" / "post-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(script)
    hook.chmod(0o755)


def test_a_push_is_served_without_waiting_for_a_poll(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    secret = tmp_path / "webhook.secret"
    secret.write_text(SECRET + "\n")
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 1}},
        poll="1h",
        webhook={"secret_env": "HOOK_SECRET"},
        environ={"HOOK_SECRET": SECRET},
    )
    gateways.append(gateway)
    gateway.start()
    assert gateway.get("/branches").json()["repository"]["last_webhook"] is None
    install(remote, gateway.url, secret)

    newer = remote.commit("prod", serve_py("newer"))
    wait_until(lambda: gateway.serving("prod") == newer, 60.0, gateway.words)
    asked = gateway.predict().json()
    assert asked["predictions"] == ["newer"]
    assert gateway.get("/branches").json()["repository"]["last_webhook"] is not None

    # The gateway's own commits call the hook too; they are quiet moves.
    wait_until(lambda: asked["request_id"] in {r["request_id"] for r in recorded(remote, "prod")})
    accepted = 'gateway_webhooks_total{result="accepted"}'
    wait_until(lambda: gateway.metric(accepted) >= 2, describe=gateway.words)
    assert gateway.serving("prod") == newer

    hook, of = f"{gateway.url}/webhooks/git", {"X-Gitea-Event": "x"}
    forged = httpx.post(hook, content=b"x", headers=of, timeout=30)
    assert forged.status_code == 401
    pages = [gateway.get(path).text for path in ("/branches", "/branches/prod", "/metrics")]
    assert gateway.stop() == 0
    for text in (*pages, gateway.words(), forged.text):
        assert SECRET not in text
    for path in (tmp_path / "g").rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_a_hook_with_another_secret_is_refused_and_the_push_goes_through(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    """The one who pushed is told, and the next poll finds the push."""
    remote.commit("prod", serve_py("old"))
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.write_text("mine")
    theirs.write_text("theirs")
    gateway = Gateway(
        tmp_path / "g",
        remote,
        {"prod": {"weight": 1}},
        poll="2s",
        monitoring={"target": "none"},
        webhook={"secret_file": str(mine)},
    )
    gateways.append(gateway)
    gateway.start()
    install(remote, gateway.url, theirs)
    newer = remote.commit("prod", serve_py("newer"))
    assert gateway.metric('gateway_webhooks_total{result="refused"}') == 1
    assert gateway.metric('gateway_webhooks_total{result="accepted"}') == 0
    wait_until(lambda: gateway.serving("prod") == newer, 60.0, gateway.words)
    gateway.write(webhook={"secret_file": str(theirs)})
    wait_until(lambda: "webhook: takes effect only by a restart" in gateway.words())
