"""What must not be written is nowhere: journal, segments, logs, messages, objects of git."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from gitrepo import Remote, git
from running import Gateway, recorded
from waiting import wait_until

#: Says every value it gets in every way there is, and fails over some.
CHATTERBOX = """
import logging, sys, warnings
def load(root):
    return None
def predict(model, instances):
    for instance in instances:
        print("saw", instance)
        print("saw", instance, file=sys.stderr)
        logging.getLogger("model").warning("saw %s", instance)
        warnings.warn(f"saw {instance}")
        if instance["age"] < 0:
            raise ValueError(f"a negative age: {instance}")
        if instance["age"] > 200:
            return {"predictions": [], "probabilities": [instance]}
    return [1 for _ in instances]
"""
SECRET, AGE, USER = "078-05-1120", 41.724981, "ada.lovelace@example.org"


def everything(gateway: Gateway, remote: Remote) -> dict[str, bytes]:
    """All that is on disk of gateway and repository, objects unpacked, and all it says.

    It is stopped for that: while it runs, files come and go.
    """
    pages = ("/branches", "/metrics", "/branches/prod/monitoring/predictions.csv")
    told = {page: gateway.get(page).content for page in pages}
    assert gateway.stop() == 0
    found = {
        str(path): path.read_bytes()
        for path in (gateway.folder / ".gateway").rglob("*")
        if path.is_file() and "snapshots" not in path.parts
    }
    for name, folder in (("remote", remote.path), ("write", gateway.folder / ".gateway/git/write")):
        listed = git(
            folder, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype)"
        )
        for line in listed.splitlines():
            oid, kind = line.split()
            if kind in ("blob", "commit"):
                found[f"{name} {oid}"] = git(folder, "cat-file", kind, oid).encode()
    found["log"] = gateway.words().encode()
    return {**found, **told}


def holding(text: object, found: dict[str, bytes]) -> list[str]:
    return [name for name, content in found.items() if str(text).encode() in content]


def ask(gateway: Gateway, **instance: Any) -> httpx.Response:
    return gateway.predict([{"age": AGE, "ssn": SECRET, **instance}], unit=USER)


@pytest.mark.parametrize(
    ("monitoring", "hidden", "kept"),
    [
        ({"redact": ["ssn"]}, [SECRET, USER], [AGE]),
        ({"features": "none"}, [SECRET, AGE, USER], []),
        # The journal may know it; what leaves the machine may not.
        ({"features": "journal"}, [USER], []),
        ({"features": "journal", "redact": ["ssn"]}, [SECRET, USER], []),
    ],
    ids=["redact", "features none", "features journal", "both"],
)
def test_what_must_not_be_written_is_nowhere(
    tmp_path: Path,
    remote: Remote,
    gateways: list[Gateway],
    monitoring: dict[str, Any],
    hidden: list[object],
    kept: list[object],
) -> None:
    remote.commit("prod", {"src/serve.py": CHATTERBOX})
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}}, monitoring=monitoring)
    gateways.append(gateway)
    gateway.start()
    answers = [ask(gateway), ask(gateway, age=-1), ask(gateway, age=201)]
    answers.append(gateway.predict([{"age": AGE, "ssn": SECRET}, [SECRET]], unit=USER))
    answers.append(
        httpx.post(
            f"{gateway.url}/predict",
            content=f'{{"instances": [{{"ssn": "{SECRET}"}}, {AGE}'.encode(),
            headers={"X-User-Id": USER},
            timeout=30,
        )
    )
    assert [answer.status_code for answer in answers] == [200, 500, 500, 500, 400]
    for answer in answers[1:]:
        assert not holding(SECRET, {"answer": answer.content}), "a caller's message is a log's too"
    ids = {answer.headers["gateway-request-id"] for answer in answers[:4]}
    wait_until(lambda: ids <= {row["request_id"] for row in recorded(remote, "prod")})
    assert gateway.stop() == 0
    gateway.start()  # what is found on disk now is all there will be
    found = everything(gateway, remote)
    for text in hidden:
        assert holding(text, found) == [], text
    for text in kept:
        assert holding(text, found), text
    if monitoring.get("features") == "journal":
        in_git = {name: content for name, content in found.items() if name.startswith("remote")}
        assert holding(SECRET, in_git) == []
        assert holding(AGE, in_git) == []


def test_by_default_features_are_in_git_and_the_user_is_a_hash(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    """The same search finds what may be there: it is able to."""
    remote.commit("prod", {"src/serve.py": CHATTERBOX})
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    ask(gateway)
    wait_until(lambda: recorded(remote, "prod"), describe=gateway.words)
    found = everything(gateway, remote)
    assert [name for name in holding(SECRET, found) if name.startswith("remote")]
    assert holding(SECRET, {"log": found["log"]})
    assert holding(USER, found) == []
