"""A secret is there or the gateway does not start; it says which setting, and never the secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.errors import StateError
from gateway.secret import named_secret


def test_blanks_around_a_secret_are_no_part_of_it(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b" \t two words\xff \r\n")
    environ = {"S": os.fsdecode(b" two words\xff\n")}
    for env, path in [("S", None), (None, file)]:
        assert named_secret("webhook.secret", environ, env=env, file=path) == b"two words\xff"


def serve(folder: Path, webhook: dict[str, str], **environ: str) -> tuple[int, str]:
    """Exit code and words of a gateway that must not start."""
    config = {
        "repository": str(folder / "none.git"),
        "baseline": "prod",
        "branches": {"prod": {"weight": 1}},
        "listen": "127.0.0.1:0",
        "webhook": webhook,
    }
    file = folder / "gateway.yaml"
    file.write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "serve", str(file)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environ},
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("value", "words"), [(None, "is not set"), ("", "is empty"), (" \t\n", "is empty")]
)
def test_a_variable_without_a_secret_stops_the_start(
    tmp_path: Path, value: str | None, words: str
) -> None:
    environ = {} if value is None else {"HOOK_SECRET": value}
    code, said = serve(tmp_path, {"secret_env": "HOOK_SECRET"}, **environ)
    assert code == 2
    assert f"webhook.secret_env: environment variable HOOK_SECRET: {words}" in said


@pytest.mark.parametrize(
    ("content", "words"),
    [(None, "cannot be read: No such file"), (b"", "is empty"), (b"\n \n", "is empty")],
)
def test_a_file_without_a_secret_stops_the_start(
    tmp_path: Path, content: bytes | None, words: str
) -> None:
    secret = tmp_path / "webhook.secret"
    if content is not None:
        secret.write_bytes(content)
    code, said = serve(tmp_path, {"secret_file": "webhook.secret"})
    assert code == 2
    assert f"webhook.secret_file: {secret}: {words}" in said


def test_a_setting_that_names_nothing_is_no_secret() -> None:
    with pytest.raises(StateError, match="neither a variable nor a file"):
        named_secret("webhook.secret", {}, env=None, file=None)
