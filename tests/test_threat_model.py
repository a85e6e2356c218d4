"""What THREAT_MODEL.md claims is shown by tests that are there; each hostile branch is in it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "THREAT_MODEL.md").read_text()
HOSTILE = ROOT / "tests" / "hostile"


def test_every_test_it_names_is_there() -> None:
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", file.read_text())
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert named <= there, named - there


def test_every_file_it_names_is_there() -> None:
    named = set(re.findall(r"tests/[\w/]+(?:\.py|\.yaml)?", PAGE))
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_hostile_branch_stands_in_it_once() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    code = (HOSTILE / "test_hostile_branches.py").read_text()
    tried = set(re.findall(r'^    "(\w+)": (?:Sin)?\(', code, re.MULTILINE))
    assert {path.stem for path in (HOSTILE / "branches").glob("*.py")} <= tried
    assert sorted(rows) == sorted(tried)
