"""Every link of a page leads somewhere: files that exist, and headings that their pages have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
)


def prose(page: Path) -> str:
    """The page without its blocks and spans of code, in which a bracket is no link."""
    without = re.sub(r"^( *)```.*?^\1```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", without)


def anchors(page: Path) -> list[str]:
    """As GitHub and Gitea name the headings: lower case, without signs, dashes for blanks."""
    blocks = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#{1,6} (.+)$", blocks.sub("", page.read_text()), re.MULTILINE)
    names = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
    return [
        name + (f"-{names[:at].count(name)}" if name in names[:at] else "")
        for at, name in enumerate(names)
    ]


def lost(page: Path) -> list[str]:
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else page.parent / path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert lost(page) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("# What holds, when: `things` fail\n\n## Twice\n\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#what-holds-when-things-fail) [b](other.md#twice-1) [c](other.md#thrice)\n"
        "[d](gone.md) [e](#nothing) [f](https://example.org/x) `[g](code.md)`\n"
        "```\n[h](block.md)\n```\n"
    )
    assert lost(page) == ["other.md#thrice", "gone.md", "#nothing"]


def test_every_page_of_deploy_is_found_from_its_first_one() -> None:
    linked = set(re.findall(r"\]\(([^)#]+\.md)[)#]", (ROOT / "deploy" / "README.md").read_text()))
    pages = {page.name for page in (ROOT / "deploy").glob("*.md")} - {"README.md"}
    assert pages - linked == set()
