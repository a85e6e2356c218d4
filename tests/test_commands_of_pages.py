"""Every command that a page shows is there: make's targets, the gateway's commands and options."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from gateway.cli import main

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted((ROOT / "deploy").glob("*.md")),
    *sorted((ROOT / "loadtests").glob("*.md")),
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def code(page: Path) -> list[str]:
    """What stands between backticks, in blocks, and indented, a line each."""
    text = page.read_text()
    return [
        *re.findall(r"(?<!`)`([^`\n]+)`(?!`)", text),
        *re.findall(r"^    (.+)$", text, re.MULTILINE),
        *(
            line
            for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
            for line in block.splitlines()
        ),
    ]


def unknown(line: str) -> list[str]:
    """The words of a line that name nothing."""
    if found := re.match(r"make ([a-z-]+)", line):
        return [] if found[1] in TARGETS else [found[0]]
    words = line.split(" #")[0].split("     ")[0].split()
    if words[:1] != ["gateway"]:
        return []
    command: click.Command = main
    for at, word in enumerate(words[1:], 1):
        if not isinstance(command, click.Group) or word.startswith("-"):
            break
        known = command.commands.get(word)
        if known is None:
            return [" ".join(words[: at + 1])] if re.fullmatch(r"[a-z-]+", word) else []
        command = known
    options = {option for one in command.params for option in one.opts} | {"--help", "-h"}
    return [f"{line}: {word}" for word in re.findall(r"(?<= )--?[a-z-]+", line)
            if word not in options]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_is_there(page: Path) -> None:
    assert [one for line in code(page) for one in unknown(line)] == []


def test_a_command_that_is_not_there_is_found() -> None:
    assert unknown("make demo") == []
    assert unknown("make dmeo") == ["make dmeo"]
    assert unknown("gateway results exp --fail-on worse") == []
    assert unknown("gateway results exp --fail-at worse") != []
    assert unknown("gateway feedback import x.csv") == []
    assert unknown("gateway feedback export") == ["gateway feedback export"]
    assert unknown("gateway status") == ["gateway status"]
