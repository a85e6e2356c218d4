"""`gateway replay` on real repositories, whose rows a real gateway wrote."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from click.testing import CliRunner, Result
from gitdaemon import git_daemon
from gitrepo import Remote, git
from mounted import Mounted
from replayworld import COLUMNS, MODEL, World, of_code, tells_forms, without_history
from running import Gateway

from gateway.cli import main
from gateway.names import RequestId


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["replay", *(str(argument) for argument in arguments)])


def document(*arguments: object) -> dict[str, Any]:
    done = run(*arguments, "--json")
    assert done.stdout, (done.output, done.exception)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_prediction(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The rows of a request by what was answered to them."""
    return {row["recorded"]["prediction"]: row for row in found["rows"]}


# What was answered, computed again


def test_a_thousand_rows_give_the_same_answers_each_by_the_commit_that_answered_it(
    world: World,
) -> None:
    done = run("--last", 1000, "--repository", world.remote.address, "--json")
    found = json.loads(done.stdout)
    assert 940 < found["rows"] <= 1000
    assert (found["same"], found["failed"], found["unknown"]) == (found["rows"], 0, 0)
    assert set(found["answered_by"]) == {"prod", "exp"}
    # One branch moved on and one is deleted: neither commit is a tip any more.
    by_commit = {one["commit"]: one for one in found["computers"]}
    assert set(by_commit) == {world.commits["prod"], world.commits["exp"]}
    assert {one["found"] for one in by_commit.values()} == {"the repository"}
    assert all("scikit-learn" in one["versions"] for one in by_commit.values())
    assert done.exit_code == 0


def test_one_request_is_the_same_and_so_is_its_shadows_copy(coded: World) -> None:
    wanted = coded.request_of(prediction='"prod dict 2"')
    done = run(wanted, "--repository", coded.remote.address)
    assert done.exit_code == 0
    first, *lines = done.stdout.splitlines()
    assert first == f"request {wanted}  SAME"
    prod, dev = (f"{name} {coded.commits[name][:10]}" for name in ("prod", "dev"))
    assert lines[0] == f'  row 0, {prod}: SAME: "prod dict 2"'
    assert lines[1] == f'  row 0, {dev} (shadow): SAME: "dev dict 2"'
    assert sum(line.startswith("  computed by") for line in lines) == 2


@pytest.mark.parametrize("form", ["list 2", "dict 2", "str word"])
def test_a_branchs_own_code_is_asked_in_the_form_that_was_sent(coded: World, form: str) -> None:
    """Which a row does not tell: an array and an object may leave the same one."""
    wanted = coded.request_of(prediction=f'"prod {form}"')
    found = document(wanted, "--repository", coded.remote.address)
    assert {row["word"] for row in found["rows"]} == {"same"}
    assert set(by_prediction(found)) == {f"prod {form}", f"dev {form}"}


def test_what_failed_fails_again(coded: World) -> None:
    found = document(coded.request_of(status="error"), "--repository", coded.remote.address)
    [row] = found["rows"]
    assert (row["word"], row["recorded"]) == ("same", None)
    assert row["why"].startswith("it was not answered then either (error): ")
    assert "as it was told" in row["why"]


def test_what_own_code_saw_beyond_its_models_columns_is_not_taken_for_another_answer_unsaid(
    coded: World,
) -> None:
    wanted = coded.request_of(prediction='"prod dict 3"')
    done = run(wanted, "--repository", coded.remote.address)
    assert done.exit_code == 1
    said = " ".join(done.stdout.split())
    assert 'DIFFERENT: answered "prod dict 3", computed "prod dict 2"; src/serve.py was' in said
    assert "may have held more than its model's columns" in said
    assert '(shadow): SAME: "dev dict 3"' in said  # which names no columns


def test_an_answer_that_is_another_is_shown_beside_it(coded: World, tmp_path: Path) -> None:
    """Somebody changed the row: then it is not what its commit answers."""
    wanted = coded.request_of(prediction='"prod str word"')
    remote = without_history(coded, tmp_path)
    remote.checkout("prod")
    for path in (remote.person / "monitoring" / "predictions" / "prod").rglob("*.csv"):
        path.write_text(path.read_text().replace("prod str word", "other"))
    git(remote.person, "commit", "--quiet", "--all", "-m", "another answer")
    git(remote.person, "push", "--quiet", "origin", "HEAD:refs/heads/prod")
    git(remote.path, "fetch", "--quiet", str(coded.remote.path), "+prod:refs/heads/history")
    done = run(wanted, "--repository", remote.address)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0].endswith("  DIFFERENT")
    assert 'answered "other", computed "prod str word"' in " ".join(done.stdout.split())


# What cannot be found or computed


def test_an_unknown_id_says_where_it_looked(coded: World) -> None:
    made = RequestId(coded.request_of(prediction='"prod str word"')).milliseconds
    for milliseconds, why in (
        (made - 10**9, "It is older than all of them, and not in the segments of its time that"),
        (made, "Of answered requests `monitoring.sample_rows` (500) are kept"),
        (made + 10**9, "It is newer than all of them: rows are published at each"),
    ):
        unknown = RequestId.build(milliseconds, 7)
        done = run(unknown, "--repository", coded.remote.address)
        assert done.exit_code == 2
        assert f"no row of request {unknown}, made 20" in done.stderr
        assert f"Looked at: {len(coded.rows)} rows in " in done.stderr
        assert " of dev, prod, from 20" in done.stderr
        assert why in done.stderr


def test_a_row_that_retention_deleted_is_in_gits_history(coded: World, tmp_path: Path) -> None:
    remote = Remote(tmp_path / "project.git")
    git(remote.path, "fetch", "--quiet", str(coded.remote.path), "+refs/heads/*:refs/heads/*")
    remote.checkout("prod")
    git(remote.person, "rm", "-r", "--quiet", "monitoring/predictions")
    git(remote.person, "commit", "--quiet", "-m", "retention")
    git(remote.person, "push", "--quiet", "origin", "HEAD:refs/heads/prod")
    wanted = coded.request_of(prediction='"prod str word"')
    found = document(wanted, "--repository", remote.address)
    assert by_prediction(found)["dev str word"]["word"] == "same"  # whose rows are there
    remote.force("dev", lambda _: "")
    found = document(wanted, "--repository", remote.address)
    assert by_prediction(found)["prod str word"]["word"] == "same"


def test_a_commit_that_is_gone_is_brought_from_the_gateways_own_snapshots(
    coded: World, shortened: Remote
) -> None:
    wanted = coded.request_of(prediction='"prod str word"')
    commit = coded.commits["prod"]
    address = ("--repository", shortened.address)
    done = run(wanted, *address)
    assert done.exit_code == 2
    said = " ".join(done.stdout.split())
    assert f"UNKNOWN: prod at {commit}: the repository has this commit no more. Looked: " in said
    assert "no state_dir: --config would name one" in said

    found = document(wanted, *address, "--config", coded.gateway.file)
    assert [row["word"] for row in found["rows"]] == ["same"]
    kept = coded.gateway.folder / ".gateway" / "snapshots"
    assert found["computers"][0]["found"].startswith(f"the gateway's own {kept}")

    many = run("--last", 50, *address, "--json")
    assert many.exit_code == 2
    assert json.loads(many.stdout)["unknown"] == json.loads(many.stdout)["rows"] > 0


def test_a_server_that_gives_out_no_commit_by_its_id_has_it_in_its_history(
    coded: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By protocol 0 it gives out what a ref is at, and nothing else; all of it without a filter."""
    remote = Remote(tmp_path / "project.git")
    git(remote.path, "fetch", "--quiet", str(coded.remote.path), "+refs/heads/*:refs/heads/*")
    (tmp_path / ".gitconfig").write_text("[protocol]\n\tversion = 0\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = coded.request_of(prediction='"prod str word"')
    with git_daemon(remote, os.environ) as port:
        git(remote.path, "config", "uploadpack.allowFilter", "false")
        address = f"git://127.0.0.1:{port}/{remote.path.name}"
        found = document(wanted, "--repository", address)
    assert {row["word"] for row in found["rows"]} == {"same"}
    found_in = {one["branch"]: one["found"] for one in found["computers"]}
    assert found_in["prod"] == "the repository's history"


def test_without_features_in_the_repository_it_says_so(tmp_path: Path) -> None:
    world = of_code(tmp_path, {"array": [1, 2]}, {"features": "none"})
    done = run(world.rows[0]["request_id"], "--repository", world.remote.address)
    assert done.exit_code == 2
    said = " ".join(done.stdout.split())
    assert said.count("UNKNOWN: its features are not in the repository: `monitoring.features`") == 2


def test_what_is_redacted_is_said_to_be(tmp_path: Path) -> None:
    world = of_code(tmp_path, {"object": {"a": 1, "b": 2}, "array": [1, 2]}, {"redact": ["a"]})
    address = ("--repository", world.remote.address, "--config", world.gateway.file)
    found = document(world.request_of(prediction='"prod dict 2"'), *address)
    assert {row["word"] for row in found["rows"]} == {"unknown"}
    why = {row["branch"]: row["why"] for row in found["rows"]}
    assert why["prod"] == "the row does not hold a: redacted, so it is written nowhere"
    assert why["dev"].startswith("`monitoring.redact` takes out a, and src/serve.py may have used")
    found = document(world.request_of(prediction='"dev list 2"'), *address)
    why = {row["branch"]: row["why"] for row in found["rows"]}
    assert "or a column is redacted and nothing tells it apart" in why["dev"]


def test_what_is_asked_wrongly_says_what_would_be_right(coded: World) -> None:
    one = coded.request_of(prediction='"prod str word"')
    for arguments, said in (
        ((), "Give a REQUEST_ID, or --last ROWS, or --branch BRANCH."),
        ((one, "--last", 3), "REQUEST_ID is one request; --branch and --last are for many."),
        (("--last", 3, "--fail-above", 1), "--fail-above goes with --branch."),
        (("--last", 3, "--json", "--markdown"), "Give --json or --markdown, not both."),
        (("x",), "a request id is a lower-case UUIDv7. Given: 'x'"),
        (("--last", 3, "--of", "gone"), "there are no rows of gone; there is "),
        (("--branch", "gone"), "no branch gone on the remote"),
        (("--branch", "prod"), "is recorded besides those of prod itself: "),
    ):
        done = run(*arguments, "--repository", coded.remote.address)
        assert done.exit_code == 2
        assert said in done.stderr


def test_a_mounted_folder_has_what_stands_in_it_and_what_its_gateway_kept(
    tmp_path: Path, gateways: list[Gateway]
) -> None:
    folder = Mounted(tmp_path / "models")
    folder.write("prod", tells_forms("prod"))
    gateway = Gateway(tmp_path / "g", folder, {"prod": {"weight": 1}})
    gateways.append(gateway)
    gateway.start()
    assert gateway.predict([[1, 2]], unit="u").status_code == 200
    assert gateway.stop() == 0
    [row] = folder.rows("prod")
    alone = (row["request_id"], "--repository", folder.address)
    assert run(*alone).exit_code == 0
    folder.write("prod", tells_forms("later"))
    done = run(*alone)
    assert done.exit_code == 2
    assert "a mounted folder has no history, and holds other content by now" in " ".join(
        done.stdout.split()
    )
    assert run(*alone, "--config", gateway.file).exit_code == 0


# By a branch that has no traffic


def test_a_branch_without_traffic_is_compared_with_what_was_answered(world: World) -> None:
    """By what the model says to the same rows, asked without any of ours."""
    name = "mean radius"
    address = ("--repository", world.remote.address)
    found = document("--branch", "next", "--last", 1000, "--by", name, *address)
    assert found["candidate"] == "next"
    answered = [row for row in world.rows if row["status"] == "ok"]
    answered.sort(key=lambda row: (row["request_id"], int(row["row"])))
    rows = answered[-found["rows"] :]
    assert found["answered_by"] == Counter(row["branch"] for row in rows)
    world.remote.checkout("next")
    model = joblib.load(world.remote.person / MODEL)
    values = [json.loads(row["features"]) for row in rows]
    matrix = np.array([[one[column] for column in COLUMNS] for one in values])
    del model.feature_names_in_
    predicted = model.predict(matrix)
    moved = model.predict_proba(matrix)[:, 1] - np.array([float(row["score"]) for row in rows])
    recorded = np.array([int(row["prediction"]) for row in rows])
    changed = predicted != recorded
    assert 0 < changed.sum() == found["changed"]
    assert found["changed_share"] == pytest.approx(changed.mean())
    assert found["score"]["mean"] == pytest.approx(moved.mean())
    assert found["score"]["most"] == pytest.approx(np.abs(moved).max())
    turned = Counter(zip(recorded[changed].tolist(), predicted[changed].tolist(), strict=True))
    assert {(one["recorded"], one["computed"]): one["rows"] for one in found["turns"]} == turned
    largest = [abs(row["difference"]["score"]) for row in found["largest"]]
    assert largest == pytest.approx(sorted(np.abs(moved), reverse=True)[:10])

    by_branch, by_radius = found["segments"]
    branches = np.array([row["branch"] for row in rows])
    assert {one["value"]: one["changed"] for one in by_branch["parts"]} == {
        branch: changed[branches == branch].sum() for branch in ("prod", "exp")
    }
    radius = matrix[:, 0]
    cuts = [float(one["value"].split()[-1]) for one in by_radius["parts"][:-1]]
    quarters = np.digitize(radius, cuts, right=True)
    assert [(one["rows"], one["changed"]) for one in by_radius["parts"]] == [
        ((quarters == n).sum(), changed[quarters == n].sum()) for n in range(len(cuts) + 1)
    ]


def test_a_comparison_is_fit_for_a_pull_request_and_fails_ci_above_a_share(coded: World) -> None:
    coded.remote.commit("next", tells_forms("next"))
    arguments = ("--branch", "next", "--repository", coded.remote.address, "--markdown")
    done = run(*arguments, "--fail-above", 99)
    assert done.exit_code == 1
    said = "**100 % of predictions, 4 of 4 rows**"
    assert done.stdout.startswith(f"### `next` beside what was answered: **changed**\n\n{said}\n")
    assert '| `"prod str word"` | `"next str word"` | 1 |' in done.stdout
    assert run(*arguments).exit_code == 0


def test_a_row_that_ends_the_branchs_process_fails_alone(coded: World) -> None:
    code = tells_forms("prod", ["a", "b"])["src/serve.py"]
    died = f"import os\n{code}".replace(
        "    if any", "    if 'word' in instances: os.abort()\n    if any"
    )
    coded.remote.commit("dies", {"src/serve.py": died})
    found = document("--branch", "dies", "--repository", coded.remote.address)
    assert (found["compared"], found["failed"]) == (3, 1)
    [failure] = found["failures"]
    assert failure["reason"] == "the worker was killed by SIGABRT"


def test_a_branch_that_wants_columns_which_rows_do_not_hold_says_which(coded: World) -> None:
    coded.remote.commit("wider", tells_forms("wider", ["a", "b", "z"]))
    done = run("--branch", "wider", "--repository", coded.remote.address)
    said = " ".join(done.stdout.split())
    assert "CHANGED: 100 % of predictions, 1 of 1 row, and 3 rows have no answer" in said
    assert "rows do not hold z: they hold the columns of what answered them (3 rows)" in said


def test_a_branch_that_does_not_load_says_why(coded: World) -> None:
    coded.remote.commit("broken", {"src/serve.py": "import no_such_thing\n"})
    done = run("--branch", "broken", "--repository", coded.remote.address)
    assert done.exit_code == 2
    commit = coded.remote.tip("broken")
    assert done.stderr.startswith(f"broken at {commit}: ")
    assert "No module named 'no_such_thing'" in done.stderr
