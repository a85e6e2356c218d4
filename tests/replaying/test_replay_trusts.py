"""What the operator does not let serve is not computed with either."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from replayworld import World, tells_forms
from signing import SshKey, nobody_signs

from gateway.cli import main


@pytest.mark.needs("ssh-keygen")
def test_what_nobody_signed_is_not_loaded_for_a_replay(coded: World, tmp_path: Path) -> None:
    ada = SshKey(tmp_path / "keys", "ada@example.org")
    (tmp_path / "signers").write_text(ada.allowed)
    ada.signs(coded.remote)
    coded.remote.commit("signed", tells_forms("signed"))
    nobody_signs(coded.remote)
    coded.remote.commit("unsigned", tells_forms("unsigned"))
    settings = {
        "repository": coded.remote.address,
        "baseline": "prod",
        "branches": {"prod": {"weight": 1}},
        "trust": {"signed_by": str(tmp_path / "signers")},
    }
    file = tmp_path / "gateway.yaml"
    file.write_text(json.dumps(settings))

    def replay(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["replay", *arguments, "--config", str(file)])

    assert replay("--branch", "signed").exit_code == 0
    done = replay("--branch", "unsigned")
    assert done.exit_code == 2
    assert "is not signed" in done.stderr
    done = replay(coded.request_of(prediction='"prod str word"'), "--json")
    assert done.exit_code == 2
    assert {row["word"] for row in json.loads(done.stdout)["rows"]} == {"unknown"}
    assert all("is not signed" in row["why"] for row in json.loads(done.stdout)["rows"])
