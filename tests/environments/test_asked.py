"""What a branch's lock asks for, and what in it is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.environments.asked import LOCKS, asked
from gateway.environments.uv import NotBuilt
from gateway.workers.runner import versions

HASH = "a" * 64


def no_export(folder: Path, python: str) -> str:
    raise AssertionError("only a uv.lock is exported")


def lines(root: Path, name: str, text: str) -> tuple[str, ...]:
    (root / name).write_text(text)
    return asked(root, no_export).lines


def test_comments_and_line_breaks_are_no_requirements(tmp_path: Path) -> None:
    text = f"""# made by a tool
numpy==2.1.0 ; python_version >= "3.10" \\
    --hash=sha256:{HASH} \\
    --hash=sha256:{HASH[1:]}b
    # via scikit-learn

joblib==1.4.2  # said so
"""
    assert lines(tmp_path, "requirements.txt", text) == (
        f'numpy==2.1.0 ; python_version >= "3.10" --hash=sha256:{HASH} --hash=sha256:{HASH[1:]}b',
        "joblib==1.4.2",
    )


def test_a_pylock_is_taken_by_versions_and_hashes_whatever_its_addresses(tmp_path: Path) -> None:
    text = f"""
lock-version = "1.0"
created-by = "uv"
requires-python = ">=3.11"
[[packages]]
name = "numpy"
version = "2.1.0"
marker = "sys_platform == 'linux'"
index = "https://packages.invalid/simple"
sdist = {{ url = "https://packages.invalid/numpy.tar.gz", hashes = {{ sha256 = "{HASH}" }} }}
wheels = [{{ url = "https://packages.invalid/n.whl", hashes = {{ sha256 = "{HASH[1:]}b" }} }}]
"""
    (tmp_path / "pylock.toml").write_text(text)
    found = asked(tmp_path, no_export)
    assert found.lines == (
        f"numpy==2.1.0 ; sys_platform == 'linux' --hash=sha256:{HASH} --hash=sha256:{HASH[1:]}b",
    )
    assert (found.python, found.closed) == (">=3.11", True)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "requirements.txt",
            "a==1\n--index-url https://x.invalid",
            "requirements.txt:2: --index-u",
        ),
        ("requirements.txt", "-r more.txt", "all requirements must stand in this one file"),
        ("requirements.txt", "-e .", "-e is not followed"),
        ("requirements.txt", "a @ https://x.invalid/a.whl", "is an address, a path"),
        ("requirements.txt", "./a-1-py3-none-any.whl", "is an address, a path"),
        ("requirements.txt", "a==1 ; platform_system == '${HTTPS_PROXY}'", "a path or a variable"),
        ("requirements.txt", "git+https://x.invalid/a", "is an address, a path"),
        ("pylock.toml", "[[packages]]\nname='a'\nversion='1'\nvcs={}", "a is a vcs"),
        ("pylock.toml", "[[packages]]\nname='a'", "a has no version"),
        ("pylock.toml", "packages = 1", "is no lock that can be read"),
        ("pylock.toml", "no toml", "is no lock that can be read"),
        ("uv.lock", "[[package]]\nname='a'\n[package.source]\nregistry='x'", "lock one project"),
        ("uv.lock", "version = 1", "is no lock that can be read"),
    ],
)
def test_what_leads_elsewhere_or_cannot_be_read_is_refused(
    tmp_path: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(NotBuilt) as told:
        lines(tmp_path, name, text)
    assert words in str(told.value)


def test_a_name_in_a_uv_lock_cannot_write_into_the_project_it_is_read_by(tmp_path: Path) -> None:
    lock = "[[package]]\nname = 'a\"\\n[tool.uv]'\nsource = { virtual = '.' }\n"
    with pytest.raises(NotBuilt, match="must lock one project"):
        lines(tmp_path, "uv.lock", lock)
    lock = "requires-python = \"'\"\n[[package]]\nname = 'a'\nsource = { virtual = '.' }\n"
    with pytest.raises(NotBuilt, match="requires-python must be a range"):
        lines(tmp_path, "uv.lock", lock)


def test_the_version_check_reads_the_lock_that_the_environment_was_built_from() -> None:
    """The runner imports nothing of ours, so it has a list of its own."""
    assert versions.LOCKS == LOCKS
