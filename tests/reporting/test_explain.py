"""`gateway explain`, by files and by gateways that run; what it says is what they do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from gitrepo import Remote
from running import Gateway, recorded, serve_py
from waiting import wait_until

from gateway.assignment import Split, uniform
from gateway.cli import main
from gateway.explaining import explain
from gateway.names import Branch, Unit
from gateway.reporting.document import UnreadableAnswer
from gateway.reporting.explained import Explained, facts, words
from gateway.reporting.standing import parse_standing

PROD, EXP = Branch("prod"), Branch("exp")
TEAM = "baseline: prod\nbranches:\n  prod: {weight: 90}\n  exp: {weight: 10}\n"
KEY = "k" * 32
DEPLOY = Path(__file__).parent.parent.parent / "deploy" / "experiments.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.yaml"
    file.write_text("repository: /r\n" + TEAM)
    return file


def run(*arguments: object, **environ: str | None) -> Result:
    """In this process; 80 columns wide."""
    told = [str(argument) for argument in arguments]
    return CliRunner(env={"COLUMNS": "80", **environ}).invoke(main, ["explain", *told])


def asked(*arguments: object, **environ: str | None) -> dict[str, Any]:
    done = run(*arguments, "--json", **environ)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def flat(text: str) -> str:
    """Without the line ends, which depend on the width."""
    return " ".join(text.split())


def process(*arguments: str | bytes, cwd: Path, **environ: str) -> tuple[int, str, str]:
    """The command as a person runs it."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "explain", *arguments],
        capture_output=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80", **environ},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


# By a file


def test_a_user_is_explained_by_the_file_as_the_documentation_shows(file: Path) -> None:
    code, out, error = process("margaret", cwd=file.parent)
    assert (code, error) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    page = DEPLOY.read_text()
    table = [line for line in out.splitlines() if line.startswith(("branch", "prod  ", "exp  "))]
    assert len(table) == 3
    for line in ("'margaret' gets prod, by gateway.yaml.", *table):
        assert f"    {line}\n" in page
        assert f"{line}\n" in out
    stays = flat(out)[flat(out).index("It stays on prod until ") :].partition("(now 10)")[0]
    assert f"{stays}(now 10), or …" in flat(page)


def test_json_has_what_the_split_decides_by(file: Path) -> None:
    found = asked("ada", "--config", file)
    split = Split("gateway", {PROD: 90.0, EXP: 10.0})
    assert found["branch"] == split.assign("ada")
    assert (found["reason"], found["salt"], found["baseline"]) == ("split", "gateway", "prod")
    assert found["shares"] == {"exp": 0.1, "prod": 0.9}
    assert found["said_by"] == str(file)
    assert {arm["branch"]: arm["u"] for arm in found["arms"]} == {
        arm: uniform("gateway", arm, "ada") for arm in (PROD, EXP)
    }
    (loser,) = found["arms"][1:]
    turned = Split("gateway", {PROD: 90.0, EXP: loser["wins_from"]})
    assert turned.assign("ada") == loser["branch"] == "exp"
    assert found["running"] is found["at"] is found["recorded"] is None
    assert "unit.key: cannot be read: No such file" in found["not_recorded"]


def test_a_file_of_the_repository_is_explained_and_has_no_key(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(TEAM)
    found = asked("ada", "--config", file, "--in-repository")
    assert found["branch"] == "prod"
    assert "belongs to the operator" in found["not_recorded"]
    refused = run("ada", "--config", file)
    assert refused.exit_code == 2
    assert "repository" in refused.stderr


def test_the_unit_of_recorded_rows_is_told_and_the_key_is_neither_made_nor_shown(
    file: Path,
) -> None:
    state = file.parent / ".gateway"
    assert run("ada", "--config", file).exit_code == 0
    assert not state.exists()
    key = bytes(range(32))
    state.mkdir()
    (state / "unit.key").write_text(key.hex())
    unit = Unit.keyed("ada", key)
    assert asked("ada", "--config", file)["recorded"] == {"unit": unit, "bucket": unit.bucket}
    text = run("ada", "--config", file).stdout
    assert f"it is the unit {unit}, in bucket {unit.bucket} of 0 to 255." in flat(text)
    assert key.hex()[:16] not in text
    assert [path.name for path in state.iterdir()] == ["unit.key"]


@pytest.mark.parametrize("by", ["env", "file"])
def test_a_configured_key_is_read_as_the_gateway_reads_it(file: Path, by: str) -> None:
    (file.parent / "key").write_text(f" {KEY}\n")
    setting = {"env": "unit_key_env: UNIT_KEY", "file": "unit_key_file: key"}[by]
    file.write_text(f"{file.read_text()}{setting}\n")
    done = asked("ada", "--config", file, UNIT_KEY=f" {KEY}\n")
    assert done["recorded"]["unit"] == Unit.keyed("ada", KEY.encode())
    (file.parent / "key").write_text("short")
    said = run("ada", "--config", file, UNIT_KEY="short").stdout
    assert "is not known" in flat(said)
    assert "16 to 64 bytes" in flat(said)
    assert "short" not in said


@pytest.mark.parametrize(("form", "encoding"), [([], "utf-8"), (["--json"], "latin-1")])
@pytest.mark.parametrize(
    "unit",
    [
        b"\x1b[31mred\x1b]0;t\x07",
        b"\xc2\x9b2J\x7f",
        "\u202eevil\u2066".encode(),
        b"a\nb\r",
        b"\xff",
    ],
    ids=["escapes", "C1 and DEL", "directions", "line ends", "no UTF-8"],
)
def test_an_id_is_printed_so_that_it_acts_on_nothing_and_can_be_told(
    file: Path, unit: bytes, form: list[str], encoding: str
) -> None:
    code, out, error = process(unit, *form, cwd=file.parent, PYTHONIOENCODING=encoding)
    assert (code, error) == (0, "")
    assert all(one.isprintable() for one in out.replace("\n", ""))
    # What is no UTF-8 in a header is read as Latin-1.
    text = unit.decode("latin-1" if unit == b"\xff" else "utf-8")
    if not form:
        assert out.startswith(f"{text!r} gets ")
        return
    found = json.loads(out)
    assert found["unit"] == text
    assert found["branch"] == Split("gateway", {PROD: 90.0, EXP: 10.0}).assign(text)


def test_a_long_id_and_a_long_branch_do_not_break_the_lines(tmp_path: Path) -> None:
    name = "feature/" + "x" * 100
    file = tmp_path / "gateway.yaml"
    file.write_text(f"repository: /r\n{TEAM}  {name}: {{weight: 10}}\n")
    done = run("漢字" * 500, "--config", file)
    assert done.exit_code == 0
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_an_empty_id_is_a_missing_one(file: Path) -> None:
    said = flat(run("", "--config", file).stdout)
    assert "the request's own id decides" in said
    assert "exp 10%, prod 90%" in said
    assert "stay out of comparisons of users" in said
    found = asked("", "--config", file, "--at", "prod=50,exp=50")
    assert (found["branch"], found["reason"], found["arms"]) == (None, "no_unit", None)
    assert found["recorded"] is None
    assert found["at"]["shares"] == {"exp": 0.5, "prod": 0.5}
    assert found["at"]["moves"] is None


def test_shadows_get_copies_and_an_arm_of_weight_zero_nobody(file: Path) -> None:
    more = "  idle: {}\n  dev: {shadow: true, shadow_share: 0.25}\n"
    file.write_text(file.read_text() + more)
    found = asked("ada", "--config", file)
    assert found["shadows"] == {"dev": 0.25}
    assert {arm["branch"] for arm in found["arms"]} == {"prod", "exp", "idle"}
    idle = next(arm for arm in found["arms"] if arm["branch"] == "idle")
    assert (idle["weight"], idle["score"]) == (0, 0)
    assert idle["wins_from"] > 0
    said = flat(run("ada", "--config", file).stdout)
    assert "dev is a shadow: it answers nobody, and gets copies of 25% of the" in said


def test_other_weights_say_whether_the_user_moves(file: Path) -> None:
    turn = asked("margaret", "--config", file)["arms"][1]["wins_from"]
    for weight, branch in ((turn * 0.999, "prod"), (turn * 1.001, "exp")):
        at = asked("margaret", "--config", file, "--at", f"exp={weight!r}")["at"]
        assert (at["branch"], at["moves"]) == (branch, branch == "exp")
        assert at["shares"]["exp"] == weight / (90 + weight)
        said = flat(run("margaret", "--config", file, "--at", f" exp = {weight!r}, prod=90").stdout)
        verb = "would move to exp" if branch == "exp" else "would stay on prod"
        assert verb in said


def test_names_with_an_equals_sign_or_a_comma_can_be_weighted(file: Path) -> None:
    file.write_text(file.read_text() + '  "a=b": {weight: 1}\n  "c,d": {weight: 1}\n')
    found = asked("ada", "--config", file, "--at", "a=b=5,c,d=7,prod=1")["at"]["weights"]
    assert found == {"a=b": 5, "c,d": 7, "prod": 1}


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("", "must be BRANCH=WEIGHT"),
        ("prod", "must be BRANCH=WEIGHT"),
        ("prod=50,exp", "Given: 'prod=50,exp'"),
        ("prdo=50", "no branch 'prdo' is served; there are: exp, prod"),
        ("prod=ten", "the weight of 'prod' must be a number from 0 to 100. Given: 'ten'"),
        ("prod=101", "Given: '101'"),
        ("prod=-1", "Given: '-1'"),
        ("prod=nan", "Given: 'nan'"),
        ("prod=inf", "Given: 'inf'"),
        ("prod=1,prod=2", "must name a branch once. Given: 'prod' again"),
        ("prod=0,exp=0", "at least one branch must have a weight above 0"),
    ],
)
def test_weights_that_are_none_are_refused_by_name(file: Path, at: str, words: str) -> None:
    done = run("ada", "--config", file, "--at", at)
    assert done.exit_code == 2
    assert words in done.stderr
    assert "--at" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument 'UNIT'"),
        (["ada", "--config", "none.yaml"], "none.yaml: cannot be read: No such file"),
        (["ada", "--in-repository", "--url", "http://x"], "--in-repository reads FILE"),
        (["ada", "--running", "--url", "http://x"], "--running asks the gateway that FILE names"),
        (["ada", "--url", "nonsense"], "--url: must be an address such as"),
        (["ada", "--url", "http://127.0.0.1:1"], "no gateway answers: Connection refused"),
    ],
)
def test_what_makes_no_sense_is_refused_with_words(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_every_mistake_of_a_wrong_file_is_said(file: Path) -> None:
    file.write_text(file.read_text().replace("90", "ninety").replace("repository", "repo"))
    done = run("ada", "--config", file)
    assert done.exit_code == 2
    assert "gateway.yaml:1:1: repo: " in done.stderr
    assert "gateway.yaml:4:18: branches.prod.weight: " in done.stderr


def test_a_ramp_in_a_file_is_explained_at_its_first_step(file: Path) -> None:
    file.write_text(file.read_text().replace("{weight: 10}", "{ramp: {steps: [4, 50]}}"))
    found = asked("ada", "--config", file)
    assert found["shares"] == {"exp": pytest.approx(0.04), "prod": pytest.approx(0.96)}
    assert found["ramps"] == {"exp": [4, 50]}
    said = flat(run("ada", "--config", file).stdout)
    assert "exp has a ramp of 4, 50 % of the users, in place of a weight." in said


# By a gateway that runs


def test_what_is_explained_is_what_answers(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    remote.commit("prod", serve_py("prod"))
    remote.commit("exp", serve_py("exp"), start="prod")
    remote.commit("dev", serve_py("dev"), start="prod")
    remote.commit("broken", {"src/serve.py": "raise RuntimeError('half a merge')\n"}, start="prod")
    branches: dict[str, dict[str, Any]] = {
        name: {"weight": 30} for name in ("prod", "exp", "broken")
    }
    branches["dev"] = {"shadow": True, "shadow_share": 0.5}
    gateway = Gateway(tmp_path / "g", remote, branches, unit_key_env="UK", environ={"UK": KEY})
    gateways.append(gateway)
    gateway.start()
    at_it = ("--url", gateway.url, "--config", gateway.file)
    users = [f"user {number}é" for number in range(50)]

    def answered(user: str) -> str:
        answer = gateway.predict(headers={"X-User-Id": user.encode()})  # type: ignore[dict-item]
        return str(answer.json()["branch"])

    def check() -> dict[str, str]:
        arms = {}
        for user in users:
            found = asked(user, *at_it)
            assert found["running"]["answered_by"] == answered(user), found
            assert found["branch"] == asked(user, "--config", gateway.file)["branch"]
            arms[user] = found["branch"]
        return arms

    before = check()
    assert set(before.values()) == {"prod", "exp", "broken"}
    hit = next(user for user in users if before[user] == "broken")
    said = flat(run(hit, *at_it).stdout)
    assert "broken has no loaded worker (failed): " in said
    assert "half a merge" in said
    assert "The baseline prod answers for it now; the user stays its own." in said
    assert "dev is a shadow: it answers nobody, and gets copies of 50%" in said

    change = "prod=10,exp=90"
    moves = {user: asked(user, *at_it, "--at", change)["at"]["moves"] for user in users}
    branches["prod"]["weight"], branches["exp"]["weight"] = 10, 90
    gateway.write(branches=branches)
    epoch = gateway.get("/branches").json()["epoch"]
    # The one that is not loaded keeps the changed file waiting: a fix brings it.
    wait_until(lambda: gateway.get("/branches").json()["configuration"]["state"] == "waiting")
    waiting = flat(run("ada", *at_it).stdout)
    assert "A changed gateway.yaml waits for broken: RuntimeError: half a merge" in waiting
    assert "Explained is what is in force meanwhile." in waiting
    assert asked("ada", *at_it)["running"]["epoch"] == epoch
    remote.commit("broken", serve_py("mended"))
    wait_until(
        lambda: gateway.get("/branches").json()["configuration"]["state"] == "in_force",
        60.0,
        gateway.words,
    )
    after = check()
    assert moves == {user: before[user] != after[user] for user in users}
    assert True in moves.values()

    unit = asked(users[0], *at_it, UK=KEY)["recorded"]["unit"]
    gateway.write(branches={"prod": {"weight": 1}, "exp": {"weight": "all"}})
    wait_until(lambda: gateway.get("/branches").json()["configuration"]["state"] == "refused")
    assert "A changed gateway.yaml is refused: " in flat(run("ada", "--url", gateway.url).stdout)
    assert "no file of theirs is read" in asked("ada", "--url", gateway.url)["not_recorded"]
    arm = before[users[0]] if before[users[0]] != "broken" else "prod"
    wait_until(
        lambda: unit in {row["unit"] for row in recorded(remote, arm)}, describe=gateway.words
    )


def test_the_gateway_that_the_file_names_is_asked_and_the_file_for_its_key_alone(
    tmp_path: Path, remote: Remote, gateways: list[Gateway]
) -> None:
    """Also one whose branches stand in the repository."""
    remote.commit(
        "prod",
        {**serve_py("prod"), "gateway.yaml": "baseline: prod\nbranches: {prod: {weight: 1}}\n"},
    )
    gateway = Gateway(tmp_path / "g", remote, {}, arguments=["--config-branch", "prod"])
    gateways.append(gateway)
    gateway.start()
    config = gateway.folder / "operator.yaml"
    listen = gateway.url.removeprefix("http://")
    config.write_text(json.dumps({**gateway.settings, "listen": listen}))
    code, out, error = process("ada", "--running", "--config", str(config), "--json", cwd=tmp_path)
    assert (code, error) == (0, "")
    found = json.loads(out)
    key = bytes.fromhex((gateway.folder / ".gateway" / "unit.key").read_text())
    assert found["recorded"]["unit"] == Unit.keyed("ada", key)
    assert (found["branch"], found["running"]["answered_by"]) == ("prod", "prod")
    assert found["said_by"] == gateway.url
    alone = flat(run("ada", "--running", "--config", config).stdout)
    assert alone.startswith(f"'ada' gets prod, by what is in force at {gateway.url}.")
    assert "until" not in alone  # nothing moves a user where there is one branch


def page(**exp: Any) -> bytes:
    """GET /branches, as far as it is read."""
    prod = {"state": "ready", "weight": 1.0, "shadow": None}
    return json.dumps(
        {
            "baseline": "prod",
            "salt": "gateway",
            "epoch": "0" * 12,
            "configuration": {"state": "in_force", "reason": None, "waiting_for": {}},
            "branches": {"prod": prod, "exp": {**prod, "weight": 100.0, **exp}},
        }
    ).encode()


def of_the_page(data: bytes) -> Explained:
    """Of a user of exp."""
    standing = parse_standing(data, "http://there")
    user = next(u for u in map(str, range(1000)) if standing.split.assign(u) == "exp")
    return Explained(user, standing, explain(standing.split, user), None, "no key", None)


EJECTED = {"since": "2026-11-29T10:00:00Z", "reason": "the store\nis \x1b[2Jaway"}


@pytest.mark.parametrize(
    ("exp", "by", "text"),
    [
        ({}, "exp", "Where exp cannot answer a request, the baseline prod does"),
        ({"fallback": False}, "exp", "Where exp cannot answer the user gets an error"),
        (
            {"state": "ejected", "ejected": EJECTED},
            "prod",
            "exp is ejected since 2026-11-29T10:00:00Z: the store is \ufffd[2Jaway. The baseline",
        ),
        ({"state": "restarting"}, "prod", "exp has no loaded worker (restarting). The baseline"),
        ({"state": "absent", "fallback": False}, None, "Nobody answers in its place"),
    ],
    ids=["ready", "alone", "ejected", "restarting", "absent and alone"],
)
def test_who_answers_for_a_branch_right_now_is_said(
    exp: dict[str, Any], by: str | None, text: str
) -> None:
    found = of_the_page(page(**exp))
    assert facts(found)["running"]["answered_by"] == by
    said = words(found, 100)
    assert text in flat(said)
    assert all(one.isprintable() for one in said.replace("\n", ""))


def test_users_are_explained_by_the_weights_they_are_dealt_by_and_the_reason_is_told() -> None:
    order = {"state": "ejected", "reason": "error_rate: \x1b[2Jhigh", "since": "2026-11-29T10:00Z"}
    standing = parse_standing(page(effective_weight=0.0, allocation=order), "http://there")
    assert standing.split.propensities == {"prod": 1, "exp": 0}
    found = Explained("ada", standing, explain(standing.split, "ada"), None, "no key", None)
    told = facts(found)
    assert told["branch"] == "prod"
    assert told["running"]["allocation"] == {"exp": {"weight": 100, "effective_weight": 0, **order}}
    said = words(found, 100)
    assert (
        "exp gets 0% of the users by the gateway's own decision, and not by the weight of"
        " gateway.yaml (100): ejected since 2026-11-29T10:00Z, error_rate: \ufffd[2Jhigh."
    ) in flat(said)
    assert all(one.isprintable() for one in said.replace("\n", ""))


def test_where_the_baseline_is_away_too_nobody_answers() -> None:
    data = page(state="restarting").replace(b'"ready"', b'"loading"')
    assert facts(of_the_page(data))["running"]["answered_by"] is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        page().replace(b'"salt"', b'"pepper"'),
        page().replace(b'"exp"', b'"e x p"'),
        page(weight=-5),
        page(weight="all"),
        page(shadow={"share": "half"}),
        page(weight=0).replace(b"1.0", b"0.0"),
    ],
    ids=range(11),
)
def test_an_answer_that_is_no_gateways_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(UnreadableAnswer, match="must answer as GET /branches") as caught:
        parse_standing(data, "http://there")
    assert caught.value.where == "http://there"
    assert str(caught.value).isprintable()
