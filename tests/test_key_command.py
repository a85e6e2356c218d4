"""`gateway key`: a key is shown once, its hash is kept, and the file else stays as it was."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.access.keys_file import PREFIX, digest_of, read_keys
from gateway.cli import main


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["key", *map(str, arguments)])


def test_the_key_alone_is_on_standard_output_and_its_entry_beside_it() -> None:
    done = run(
        "ci", "--scope", "read", "--scope", "predict", "--rate", 50, "--expires", "2999-01-02"
    )
    assert done.exit_code == 0
    made = done.stdout.strip()
    assert made.startswith(PREFIX)
    assert done.stdout == f"{made}\n"
    assert done.stderr.splitlines()[3:] == [
        "- name: ci",
        f"  sha256: {digest_of(made.encode())}",
        "  scopes: [predict, read]",
        "  expires: 2999-01-02T00:00:00Z",
        "  rate: 50",
    ]
    assert made not in done.stderr


def test_a_new_file_is_its_owners_alone_and_holds_no_key(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    made = run("ci", "--scope", "read", "--file", file).stdout.strip()
    (key,) = read_keys(file)
    assert (key.name, key.sha256) == ("ci", digest_of(made.encode()))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert made not in file.read_text()


@pytest.mark.parametrize(
    "before",
    [
        "keys:\n- {name: a, sha256: %s, scopes: [read]}  # a's\n",
        "# ours\nkeys:\n  - name: a\n    sha256: %s\n    scopes: [read]\n\n# the end\n",
        "keys:\n    - name: a\n      sha256: %s\n      scopes:\n        - read",
        "keys: []\n",
        "keys: [ ]",
        "\n",
    ],
)
def test_an_entry_is_put_at_the_end_however_the_file_is_written(
    tmp_path: Path, before: str
) -> None:
    file = tmp_path / "keys.yaml"
    text = before.replace("%s", "ab" * 32)
    file.write_text(text)
    file.chmod(0o640)
    done = run("b", "--scope", "operate", "--file", file)
    assert done.exit_code == 0, done.stderr
    names = [key.name for key in read_keys(file)]
    assert names == (["a", "b"] if "a" in text else ["b"])
    if "a" in text:
        assert file.read_text().startswith(text.rstrip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_file_that_takes_no_entry_stays_as_it_is_and_that_is_said(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    for text, words in (
        ("{keys: [{name: a, sha256: %s, scopes: [read]}]}" % ("ab" * 32), "paste it"),
        ("keys: [{name: a}]", "keys[0].sha256: is missing"),
    ):
        file.write_text(text)
        done = run("b", "--scope", "read", "--file", file)
        assert (done.exit_code, done.stdout) == (2, "")
        assert words in done.stderr
        assert file.read_text() == text
    done = run("b", "--scope", "read", "--file", tmp_path / "none" / "keys.yaml")
    assert "none: cannot be used: No such file" in done.stderr


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text("keys: []\n")
    link = tmp_path / "keys.yaml"
    link.symlink_to("real.yaml")
    assert run("a", "--scope", "read", "--file", link).exit_code == 0
    assert link.is_symlink()
    assert len(read_keys(tmp_path / "real.yaml")) == 1


def test_keys_that_are_made_at_the_same_time_are_all_there(tmp_path: Path) -> None:
    file = tmp_path / "keys.yaml"
    from gateway.key_command import _add, _entry

    def add(number: int) -> None:
        _add(file, _entry(f"k{number}", f"key {number}", ("read",), None, None))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(16)))
    assert {key.name for key in read_keys(file)} == {f"k{number}" for number in range(16)}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a b", "--scope", "read"], "NAME: must be 1 to 64 letters, digits and _ . @ -"),
        (["anonymous", "--scope", "read"], "NAME: must be another"),
        (["a"], "Missing option '--scope'"),
        (["a", "--scope", "write"], "'write' is not one of"),
        (["a", "--scope", "read", "--expires", "soon"], "must be 90d, 2027-01-01 or"),
        (["a", "--scope", "read", "--expires", "2001-01-01"], "must be in the future"),
        (["a", "--scope", "read", "--rate", "0"], "0.01"),
    ],
)
def test_what_makes_no_key_says_what_would(arguments: list[str], words: str) -> None:
    done = run(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert words in done.stderr


def test_days_are_counted_from_now() -> None:
    assert "expires: 2" in run("a", "--scope", "read", "--expires", "90d").stderr
