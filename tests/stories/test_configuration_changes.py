"""gateway.yaml is picked up without a restart, and never points a weight at what is not loaded."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

from gitrepo import Remote, git
from running import Gateway, recorded, serve_py
from traffic import Traffic
from waiting import wait_until


def shares(gateway: Gateway, users: int = 60) -> Counter[str]:
    return Counter(gateway.predict(unit=f"user-{u}").json()["branch"] for u in range(users))


def state(gateway: Gateway) -> str:
    return str(gateway.get("/branches").json()["configuration"]["state"])


def test_a_changed_weight_moves_only_the_users_it_must(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("cand", serve_py("new"), start="prod")
    gateway = Gateway(
        tmp_path / "g", remote, {"prod": {"weight": 90}, "cand": {"weight": 10}}, salt="exp"
    )
    gateways.append(gateway)
    gateway.start()

    def on_cand() -> set[int]:
        return {
            u for u in range(60) if gateway.predict(unit=f"user-{u}").json()["branch"] == "cand"
        }

    before = on_cand()
    assert before == {0, 12, 19, 23, 25, 43, 57}  # the published vector
    epoch = gateway.get("/branches").json()["epoch"]
    with Traffic(gateway) as traffic:
        gateway.write(branches={"prod": {"weight": 80}, "cand": {"weight": 20}})
        wait_until(lambda: gateway.get("/branches").json()["epoch"] != epoch)
    assert traffic.failures == []
    assert on_cand() == before | {4, 9, 10, 27, 36, 40, 48, 53}


def test_a_bad_file_keeps_the_old_one_in_force_and_says_so(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    good = gateway.file.read_text()
    gateway.put("repository: x\nbaseline: nope\nbranches: {prod: {weight: ten}}\n")
    wait_until(lambda: state(gateway) == "refused")
    reason = gateway.get("/branches").json()["configuration"]["reason"]
    assert "gateway.yaml:3:27: branches.prod.weight" in reason
    assert gateway.predict().status_code == 200
    assert gateway.metric('gateway_config_changes_total{result="refused"}') == 1
    gateway.put(good)
    wait_until(lambda: state(gateway) == "in_force")


def test_a_weight_on_a_branch_that_is_not_there_yet_waits_for_it(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    gateway.write(branches={"prod": {"weight": 0}, "exp": {"weight": 1}})
    wait_until(lambda: state(gateway) == "waiting")
    assert "exp" in gateway.get("/branches").json()["configuration"]["waiting_for"]
    assert shares(gateway, 10) == {"prod": 10}
    remote.commit("exp", serve_py("new"), start="prod")
    wait_until(lambda: state(gateway) == "in_force", describe=gateway.words)
    assert shares(gateway, 10) == {"exp": 10}


def test_a_setting_that_needs_a_restart_is_refused_by_name(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    gateway.write(listen="127.0.0.1:1")
    wait_until(lambda: state(gateway) == "refused")
    assert "restart" in gateway.get("/branches").json()["configuration"]["reason"]


def test_a_branch_taken_out_of_the_file_is_served_no_more(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("exp", serve_py("new"), start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "exp": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    with Traffic(gateway) as traffic:
        gateway.write(branches={"prod": {"weight": 1}})
        wait_until(lambda: gateway.get("/branches/exp").status_code == 404)
        traffic.more(20)
    assert traffic.failures == []
    assert shares(gateway, 20) == {"prod": 20}


def test_two_gateways_do_not_share_a_state_directory(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    second = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", str(gateway.file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert second.returncode == 2
    assert "in use by another gateway" in second.stderr
    assert "state_dir" in second.stderr


def test_with_the_remote_down_at_start_the_last_good_model_serves(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    commit = remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    assert gateway.stop() == 0
    away = remote.path.rename(remote.path.with_name("away.git"))
    gateway.start()
    assert gateway.predict().json()["commit"] == commit
    wait_until(lambda: gateway.metric('gateway_polls_total{result="failed"}') >= 1)
    assert gateway.get("/branches").json()["repository"]["last_error"]
    away.rename(remote.path)
    newer = remote.commit("prod", serve_py("newer"))
    wait_until(lambda: gateway.serving("prod") == newer, 60.0, gateway.words)


def test_another_baseline_fails_no_request(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    for name in ("one", "two"):
        remote.commit(name, serve_py(name))
    gateway = Gateway(
        tmp_path / "g", remote, {"one": {"weight": 1}, "two": {"weight": 1}}, baseline="one"
    )
    gateways.append(gateway)
    gateway.start()
    with Traffic(gateway, threads=6) as traffic:
        for name in ("two", "one", "two", "one"):
            gateway.write(baseline=name, branches={name: {"weight": 1}})
            wait_until(lambda name=name: gateway.get("/branches").json()["baseline"] == name)  # type: ignore[misc]
            traffic.more(20)
    assert traffic.failures == []


def test_a_shorter_flush_is_in_force_at_once(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}}, monitoring={"flush": "1h"})
    gateways.append(gateway)
    gateway.start()
    gateway.write(monitoring={"flush": "1s", "sample_rows": "all"})
    wait_until(lambda: "is in force" in gateway.words(), describe=gateway.words)
    asked = gateway.predict().json()["request_id"]
    wait_until(lambda: asked in {row["request_id"] for row in recorded(remote, "prod")})


def test_who_commits_and_with_what_words_is_in_force_without_a_restart(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    words = {
        "author": "Ada <ada@example.org>",
        "committer": "Bob <bob@example.org>",
        "message": "chore({branch}): {contents}",
    }
    gateway.write(monitoring={"flush": "1s", "sample_rows": "all", **words})
    wait_until(lambda: "is in force" in gateway.words(), describe=gateway.words)
    asked = gateway.predict().json()["request_id"]
    wait_until(lambda: asked in {row["request_id"] for row in recorded(remote, "prod")})
    said = git(remote.path, "log", "-1", "--format=%an <%ae>%n%cn <%ce>%n%s", "prod").splitlines()
    assert said[:2] == [words["author"], words["committer"]]
    # What waited goes with it, such as a decision of the start.
    assert said[2].startswith("chore(prod): ")
    assert "1 prediction" in said[2]


def test_the_series_of_a_branch_that_left_leave_with_it(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("old"))
    remote.commit("exp", serve_py("new"), start="prod")
    gateway = Gateway(tmp_path / "g", remote, {"prod": {"weight": 1}, "exp": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    assert 'branch="exp"' in gateway.get("/metrics").text
    gateway.write(branches={"prod": {"weight": 1}})
    wait_until(lambda: 'branch="exp"' not in gateway.get("/metrics").text)
