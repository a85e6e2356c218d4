"""One gateway a state directory, and a unit key that is never weak and never shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config
from gateway.errors import StateError
from gateway.names import Branch, Commit, Fingerprint
from gateway.served import Served, ServedFile
from gateway.state import StateDirectory, key_id, known_unit_key


def config(**settings: Any) -> Config:
    return Config.model_validate(
        {"repository": "r", "baseline": "prod", "branches": {"prod": {"weight": 1}}, **settings}
    )


def test_the_directory_has_one_owner_at_a_time(tmp_path: Path) -> None:
    first, second = StateDirectory(tmp_path / "s"), StateDirectory(tmp_path / "s")
    first.open()
    with pytest.raises(StateError, match="in use by another gateway"):
        second.open()
    first.close()
    second.open()
    second.close()
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700


def test_a_generated_key_is_private_and_stays(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path / "s")
    state.open()
    key = state.unit_key(config(), {})
    assert len(key) == 32
    assert state.unit_key(config(), {}) == key
    assert (tmp_path / "s" / "unit.key").stat().st_mode & 0o777 == 0o600
    state.close()


def test_a_key_that_is_only_looked_up_is_never_made(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with pytest.raises(StateError, match=r"unit\.key: cannot be read: No such file"):
        known_unit_key(folder, config(), {})
    assert not folder.exists()
    state = StateDirectory(folder)
    state.open()
    key = state.unit_key(config(), {})
    assert known_unit_key(folder, config(), {}) == key
    (folder / "unit.key").unlink()
    (folder / "unit.key").mkdir()
    with pytest.raises(StateError, match="Is a directory"):
        known_unit_key(folder, config(), {})
    state.close()


def test_a_key_has_an_id_that_tells_it_from_others_and_is_not_it() -> None:
    assert key_id(b"k" * 16) == "a69bd8af"
    assert key_id(b"k" * 17) != key_id(b"k" * 16)


def test_a_replica_has_an_id_that_stays(tmp_path: Path) -> None:
    first, second = StateDirectory(tmp_path / "1"), StateDirectory(tmp_path / "2")
    first.open()
    second.open()
    name = first.replica_id()
    assert len(bytes.fromhex(name)) == 8
    assert first.replica_id() == name
    assert second.replica_id() != name
    for wrong in (b"", b"../x", b"\xff"):
        (tmp_path / "1" / "replica.id").write_bytes(wrong)
        with pytest.raises(StateError, match=r"replica\.id: (must hold 16 hex|cannot be used)"):
            first.replica_id()
    first.close()
    second.close()


@pytest.mark.parametrize(("given", "right"), [("", False), ("short", False), ("k" * 16, True)])
def test_a_configured_key_is_long_enough_or_refused_without_being_shown(
    tmp_path: Path, given: str, right: bool
) -> None:
    state = StateDirectory(tmp_path)
    file = tmp_path / "key"
    file.write_text(given + "\n")
    for settings in ({"unit_key_env": "KEY"}, {"unit_key_file": str(file)}):
        if right:
            assert state.unit_key(config(**settings), {"KEY": given}) == given.encode()
            continue
        with pytest.raises(StateError, match="16 to 64 bytes") as caught:
            state.unit_key(config(**settings), {"KEY": given})
        assert not given or given not in str(caught.value)


def test_what_served_last_survives_and_a_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    served = Served(Commit("a" * 40), Commit("b" * 40), True, Fingerprint("c" * 32))
    file = ServedFile(tmp_path / "served.json")
    file.put(Branch("team/prod"), served)
    again = ServedFile(tmp_path / "served.json")
    again.read()
    assert again.branches == {"team/prod": served}
    (tmp_path / "served.json").write_text('{"x": 1}')
    damaged = ServedFile(tmp_path / "served.json")
    damaged.read()
    assert damaged.branches == {}
