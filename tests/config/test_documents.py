"""Mistakes in gateway.yaml: each `bad_*.yaml` beside the lines that must be said about it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic_core.core_schema import ErrorType

from gateway.config import RESTART_ONLY, Config, load_config, parse_config
from gateway.config.document import load_operators_part, parse_team
from gateway.config.mistakes import explain
from gateway.config.positions import Document
from gateway.errors import ConfigError
from gateway.names import Branch

HERE = Path(__file__).parent
WHOLE = (HERE / "whole.yaml").read_text()
BAD = sorted(HERE.glob("bad_*.yaml"))
PYDANTICS = re.compile(r"Input|should|Value error|valid (string|number|integer|dict)|type=|\burl\b")


def mistakes_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "gateway.yaml")
    return caught.value.mistakes


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem.removeprefix("bad_"))
def test_every_mistake_is_said_with_its_place_and_what_would_be_right(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(HERE)
    with pytest.raises(ConfigError) as caught:
        load_config(Path(path.name))
    assert path.with_suffix(".expected").read_text().splitlines() == caught.value.mistakes


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem.removeprefix("bad_"))
def test_no_line_carries_the_password_of_a_bad_file(path: Path) -> None:
    assert "hunter2" not in path.with_suffix(".expected").read_text()


def test_the_four_line_file_of_the_design_loads_with_defaults() -> None:
    config = parse_config(
        "repository: /srv/churn.git\nbaseline: prod\n"
        "branches:\n  prod: {weight: 90}\n  ab-test-210323: {weight: 10}\n",
        "gateway.yaml",
    )
    assert config.weights == {"prod": 90.0, "ab-test-210323": 10.0}
    assert config.branches[config.baseline].timeout == 2.0
    assert list(config.unit) == ["header:X-User-Id", "body:unit", "cookie:uid"]


def test_every_setting_can_be_given() -> None:
    config = parse_config(WHOLE, "gateway.yaml")
    given_there = config.model_dump(exclude_unset=True)
    assert set(Config.model_fields) - {"unit_key_file"} == set(given_there)
    for section in ("monitoring", "limits", "environments", "trust"):
        assert set(type(getattr(config, section)).model_fields) == set(given_there[section])
    assert (
        config.monitoring.sample_rows,
        config.monitoring.flush,
        config.monitoring.segment_bytes,
    ) == ("all", 5.0, 512 * 1024)
    assert (config.listen.host, config.listen.port) == ("0.0.0.0", 8080)


def test_no_and_dates_and_numbers_are_names_when_they_stand_for_names() -> None:
    config = parse_config(
        "repository: no\nbaseline: 2026-11-23\nsalt: 2026-11\n"
        "branches: {2026-11-23: {weight: 1}, 210323: {weight: 1}, no: {weight: 1}}\n",
        "gateway.yaml",
    )
    assert (config.repository, config.salt) == ("no", "2026-11")
    assert list(config.branches) == ["2026-11-23", "210323", "no"]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("churn.git", "{folder}/churn.git"),
        ("../churn.git", "{folder}/../churn.git"),
        ("/srv/churn.git", "/srv/churn.git"),
        ("~/churn.git", "{home}/churn.git"),
        ("./git@host:churn.git", "{folder}/git@host:churn.git"),
        ("git@host:org/churn.git", "git@host:org/churn.git"),
        ("host:churn.git", "host:churn.git"),
        ("https://git.example.org/churn.git", "https://git.example.org/churn.git"),
        ("ssh://git@git.example.org/churn.git", "ssh://git@git.example.org/churn.git"),
        ("file:///srv/churn.git", "file:///srv/churn.git"),
    ],
)
def test_relative_paths_belong_to_the_folder_of_the_file(
    written: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    folder = tmp_path / "etc"
    folder.mkdir()
    file = folder / "gateway.yaml"
    file.write_text(
        f"repository: {written}\nbaseline: prod\nbranches: {{prod: {{weight: 1}}}}\n"
        "state_dir: state\nunit_key_file: unit.key\n"
        "redis: {url_file: url, ca_file: ../ca.pem}\n"
    )
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("etc/gateway.yaml"))
    assert meant.format(folder=folder, home="/home/ada") == config.repository
    assert folder / "state" == config.state_dir
    assert folder / "unit.key" == config.unit_key_file
    assert config.redis is not None
    assert (config.redis.url_file, config.redis.ca_file) == (folder / "url", folder / "../ca.pem")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "gateway.yaml: cannot be read: No such file or directory"),
        (b"", "gateway.yaml:1:1: is empty: it needs at least repository, baseline and branches"),
        (b"salt: a\nsalt\xff: b\n", "gateway.yaml:2:5: must be UTF-8; this byte is not"),
        (b"a: \x00", "gateway.yaml:1:4: must be text: there is a control character here"),
        (b"a: " + b"[" * 5000, "gateway.yaml:1:1: is nested too deeply"),
        (b"#" * (1024**2 + 1), "gateway.yaml: must be at most 1 MiB of YAML; it is larger"),
    ],
    ids=["missing", "empty", "not UTF-8", "control character", "deep", "large"],
)
def test_a_file_that_cannot_be_used_says_why(
    content: bytes | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("gateway.yaml").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load_config(Path("gateway.yaml"))
    assert [said] == caught.value.mistakes


def test_the_operators_part_of_a_file_is_read_whatever_the_rest_of_it_says(tmp_path: Path) -> None:
    """A monitor beside the gateway must start while somebody edits the branches."""
    path = tmp_path / "gateway.yaml"
    path.write_text("repository: /srv/x.git\nstate_dir: here\nbranches: {prod: {weight: ten}}\n")
    assert load_operators_part(path).state_dir == tmp_path / "here"
    path.write_text("repository: /srv/x.git\nstate_dir: here\n")
    assert load_operators_part(path).repository == "/srv/x.git"
    path.write_text("repository: /srv/x.git\nstate_dir: 5\nbaseline: prod\nsalty: 1\n")
    with pytest.raises(ConfigError, match="salty") as caught:
        load_operators_part(path)
    assert "state_dir" in str(caught.value)
    assert "baseline" not in str(caught.value)


def test_a_folder_in_place_of_the_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + WHOLE.encode())
    assert load_config(file).baseline == "prod"


@pytest.mark.parametrize(
    "address",
    [
        "https://ada:hunter2@host/churn.git",
        "ssh://git:hunter2@host/churn.git",
        "https://hunter2@host/churn.git",
    ],
)
def test_a_password_in_the_address_is_refused_and_never_repeated(address: str) -> None:
    said = mistakes_of(f"repository: {address}\nbaseline: prod\nbranches: {{prod: {{weight: 1}}}}")
    place = "gateway.yaml:1:13: repository: "
    assert said == [f"{place}must not carry a user or password; use `credentials`"]


def test_what_stands_under_the_name_of_a_secret_is_never_repeated() -> None:
    said = mistakes_of(
        "repository: r\nbaseline: prod\nbranches: {prod: {weight: 1}}\n"
        "unit_key_env: 271828\nunit_key_file: 314159\n"
    )
    assert len(said) == 2
    assert not any("271828" in line or "314159" in line for line in said)


@pytest.mark.parametrize(
    "text", ["ada:hunter2@host", "https://ada:hunter2@host/", "host/?token=hunter2"]
)
def test_an_address_in_the_wrong_setting_is_not_repeated_either(text: str) -> None:
    said = mistakes_of(
        f"repository: r\nbaseline: b\nbranches: {{b: {{weight: 1}}}}\nlisten: {text}"
    )
    assert said == ["gateway.yaml:4:9: listen: must be HOST:PORT, such as 127.0.0.1:8080"]


def test_an_alias_that_would_expand_for_ever_is_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    assert any(
        "aliases (*name) are not supported" in line for line in mistakes_of("\n".join(lines))
    )


@pytest.mark.parametrize("kind", ErrorType.__args__)  # type: ignore[attr-defined]
def test_every_error_pydantic_knows_has_words_of_our_own(kind: str) -> None:
    path = ("branches", "prod", "weight")
    found = Document(value={"branches": {"prod": {"weight": "ten"}}}, values={path: (7, 13)})
    error: Any = {
        "type": kind,
        "loc": path,
        "msg": "Input should be what pydantic says",
        "input": "ten",
        "ctx": {"error": ValueError("must be ours")},
    }
    (mistake,) = explain([error], Config, found)
    assert not PYDANTICS.search(mistake.message)
    assert re.search(r"^(must be|is missing: |is not a setting)", mistake.message)


WRONG: list[Any] = [
    "", "x", "[]", "[x]", "[[]]", "{}", "{x: 1}", "~", "true", "-1", "0", "1.5", ".inf", "1e999",
    "9" * 400, "9" * 5000, "9" * 400 + "d", "9" * 400 + "GiB", "~nobody-of-that-name/x", "'a\\0'",
    '"\\0"', "!!float x", "*x",
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: repr(wrong[:12]))
def test_no_setting_answers_a_wrong_value_in_the_words_of_pydantic(wrong: str) -> None:
    lines = WHOLE.splitlines()
    for number, written in enumerate(lines):
        indented = re.match(r"(\s*[\w-]+: ?)(\S.*)$", written)
        if indented is None:
            continue
        text = "\n".join([*lines[:number], indented[1] + wrong, *lines[number + 1 :]])
        try:
            parse_config(text, "gateway.yaml")
        except ConfigError as error:
            for line in error.mistakes:
                assert re.match(r"gateway\.yaml:\d+:\d+: ", line)
                assert not PYDANTICS.search(line)
                assert "\n" not in line


@st.composite
def mutations(draw: st.DrawFn) -> str:
    """A valid file with a few pieces cut out, doubled, moved or replaced."""
    text = WHOLE
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 30)))
        piece = draw(
            st.sampled_from([text[start:end] * 2, "", "\t", "- ", ": ", "{", "]", "'", '"', "&a ",
                             "*a", "!!x ", "~", "? ", "#", "|", "%", "\n", "<<: ", "---\n"])
            | st.text(max_size=4)
        )  # fmt: skip
        text = text[:start] + piece + text[end:]
    return text


@given(mutations())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("a: &a [*a]")
@example("{}")
@example("? ? a")
def test_any_change_of_a_file_loads_or_is_a_config_error(text: str) -> None:
    said = ["gateway.yaml:"]
    try:
        parse_config(text, "gateway.yaml")
    except ConfigError as error:
        said = error.mistakes
    assert said
    assert all(line.startswith("gateway.yaml:") for line in said)


def test_the_replicas_redis_is_the_operators_and_stays_until_a_restart() -> None:
    text = b"baseline: prod\nbranches: {prod: {weight: 1}}\nredis: {url_env: PATH}\n"
    with pytest.raises(ConfigError) as caught:
        parse_team(text, "prod:gateway.yaml")
    (mistake,) = caught.value.mistakes
    assert mistake.startswith("prod:gateway.yaml:3:1: redis: belongs to the operator's own")
    assert "redis" in RESTART_ONLY


def test_which_branch_may_reach_the_network_is_the_operators_alone() -> None:
    text = b"baseline: prod\nbranches: {prod: {weight: 1, network: true}}\nsandbox: off\n"
    with pytest.raises(ConfigError) as caught:
        parse_team(text, "prod:gateway.yaml")
    network, sandbox = caught.value.mistakes
    where = "prod:gateway.yaml:2:30: branches.prod.network: belongs to the operator's own"
    assert network.startswith(where)
    assert sandbox.startswith("prod:gateway.yaml:3:1: sandbox: belongs to the operator's own")
    assert "sandbox" in RESTART_ONLY
    config = parse_config(text.decode() + "repository: r.git\n", "gateway.yaml")
    assert config.branches[Branch("prod")].network
    assert config.sandbox == "off"
