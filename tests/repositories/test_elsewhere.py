"""Addresses in a commit's own files: resolved as git does, refused where they may not lead."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from gitrepo import Remote, pin
from gitrepo import git as person

from gateway.errors import ContentError
from gateway.names import Commit
from gateway.repositories.elsewhere import lfs_address, resolved, submodule_address
from gateway.repositories.git import Git
from gateway.repositories.gitprocess import Address

ORIGINS = [
    "https://git.example.org/team/project.git",
    "https://git.example.org/project.git/",
    "ssh://git@git.example.org:2222/team/project",
    "git@git.example.org:team/project.git",
    "git@git.example.org:project.git",
    "/srv/git/project.git",
    "file:///srv/git/project.git/",
]
RELATIVE = ["../data.git", "./data", "../../data/", "./../other/../data.git", "../"]


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    made = Remote(tmp_path / "remote.git")
    made.commit("prod", {"README.md": "churn"})
    return made


@pytest.fixture
def addressed(
    remote: Remote, tmp_path: Path, environment: dict[str, str]
) -> Callable[[str], tuple[Git, Commit]]:
    """A cache of prod that believes its remote to be at another address."""

    def make(origin: str) -> tuple[Git, Commit]:
        tip = Commit(remote.tip("prod"))
        filled = Git(tmp_path / "c", str(remote.path), environment)
        filled.prepare()
        filled.fetch(tip)
        filled.prefetch(entry.oid for entry in filled.ls_tree(tip))
        return Git(tmp_path / "c", origin, environment), tip

    return make


@pytest.mark.parametrize("origin", ORIGINS)
@pytest.mark.parametrize("url", RELATIVE)
def test_relative_addresses_are_resolved_as_git_does(remote: Remote, origin: str, url: str) -> None:
    pin(remote, "prod", "data", url, remote.tip("prod"))
    person(remote.person, "remote", "set-url", "origin", origin)
    person(remote.person, "submodule", "init")
    assert person(remote.person, "config", "submodule.data.url") == resolved(origin, url)


def test_an_address_above_everything_is_refused_as_by_git(
    remote: Remote, addressed: Callable[[str], tuple[Git, Commit]]
) -> None:
    pin(remote, "prod", "data", "../../../x", remote.tip("prod"))
    person(remote.person, "remote", "set-url", "origin", "git@git.example.org:project.git")
    with pytest.raises(AssertionError, match="cannot strip one component"):
        person(remote.person, "submodule", "init")
    git, tip = addressed("git@git.example.org:project.git")
    with pytest.raises(ContentError, match="leads above everything"):
        submodule_address(git, tip, "data", where="prod")


@pytest.mark.parametrize(
    ("origin", "url", "address"),
    [
        (ORIGINS[0], "../data.git", "https://git.example.org/team/data.git"),
        (ORIGINS[0], "https://ORG@dev.azure.com/ORG/_git/d", "https://dev.azure.com/ORG/_git/d"),
        (ORIGINS[0], "ssh://git@other.org/d.git", "ssh://git@other.org/d.git"),
        (ORIGINS[0], "git@other.org:d.git", "git@other.org:d.git"),
        (ORIGINS[5], "../data.git", "/srv/git/data.git"),
        (ORIGINS[5], "file:///srv/data.git", "file:///srv/data.git"),
    ],
)
def test_an_address_that_may_be_followed_is_found_by_its_path(
    remote: Remote,
    addressed: Callable[[str], tuple[Git, Commit]],
    origin: str,
    url: str,
    address: str,
) -> None:
    pin(remote, "prod", "other", "../other.git", remote.tip("prod"))
    pin(remote, "prod", "data/raw", url, remote.tip("prod"))
    git, tip = addressed(origin)
    assert address == submodule_address(git, tip, "data/raw", where="prod")


HOSTILE = [
    ("ext::sh -c touch% /tmp/canary", "must begin with one of file://"),
    ("ftp://other.org/d.git", "must begin with one of file://"),
    ("--upload-pack=touch /tmp/canary", "not an option"),
    ("ssh://-oProxyCommand=x/d.git", "must name a host"),
    ("git@-oProxyCommand=x:d.git", "must name a host"),
    ("https:///d.git", "must name a host"),
    ("https://other.org:x/d.git", "must name a host"),
    ("https://other.org/d\u0007.git", "printable"),
    ("https://ada:s3cret@other.org/d.git", "must not carry a password"),
    ("ssh://ada:s3cret@other.org/d.git", "must not carry a password"),
    ("xet://hub/team/d", "XetHub"),
    ("/etc", "not be a path of the gateway's machine"),
    ("file:///etc", "not be a path of the gateway's machine"),
    ("data.git", "not be a path of the gateway's machine"),
]


@pytest.mark.parametrize(("url", "said"), HOSTILE)
def test_an_address_that_leads_where_it_may_not_is_refused_by_name(
    remote: Remote, addressed: Callable[[str], tuple[Git, Commit]], url: str, said: str
) -> None:
    config = f'[submodule "d"]\n\tpath = data\n\turl = "{url}"\n'
    files = {".gitmodules": config, ".lfsconfig": f'[lfs]\n\turl = "{url}"\n'}
    remote.commit("prod", files)
    git, tip = addressed(ORIGINS[0])
    with pytest.raises(ContentError, match=f"url of data in .gitmodules .*{said}") as raised:
        submodule_address(git, tip, "data", where="prod")
    assert "s3cret" not in str(raised.value)
    said = said.replace("must begin with one of file://", "must begin with one of file://, http")
    with pytest.raises(ContentError, match=rf"lfs\.url in \.lfsconfig .*{said}") as raised:
        lfs_address(git, tip, where="prod")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "names no url for it"),
        ({".gitmodules": '[submodule "d"]\n\tpath = other\n\turl = ../d\n'}, "names no url for it"),
        ({".gitmodules": '[submodule "d"]\n\tpath = data\n\turl\n'}, "names no url for it"),
        ({".gitmodules": "[submodule\n"}, "not in git's configuration format"),
        ({".gitmodules": "#" * (1 << 20) + "\n"}, "at most 1048576 are read"),
        ({".gitmodules": '[submodule "d"]\n\tpath = data\n\turl = d.git\n'}, "must be absolute"),
    ],
)
def test_a_file_that_names_nothing_is_refused_by_name(
    remote: Remote,
    addressed: Callable[[str], tuple[Git, Commit]],
    files: dict[str, str],
    said: str,
) -> None:
    remote.commit("prod", files)
    git, tip = addressed(ORIGINS[5])
    with pytest.raises(ContentError, match=said):
        submodule_address(git, tip, "data", where="prod")


def test_settings_behind_a_link_or_an_include_are_not_read(
    remote: Remote, addressed: Callable[[str], tuple[Git, Commit]], tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_text("[lfs]\n\turl = https://other.org/lfs\n")
    remote.commit("prod", {".lfsconfig": f"[include]\n\tpath = {outside}\n"})
    git, tip = addressed(ORIGINS[5])
    assert lfs_address(git, tip, where="prod") is None
    (remote.person / ".lfsconfig").unlink()
    (remote.person / ".lfsconfig").symlink_to(outside)
    person(remote.person, "add", "--all")
    person(remote.person, "commit", "--quiet", "-m", "link")
    person(remote.person, "push", "--quiet", "origin", "HEAD:refs/heads/prod")
    git, tip = addressed(ORIGINS[5])
    with pytest.raises(ContentError, match=r"\.lfsconfig is a symbolic link"):
        lfs_address(git, tip, where="prod")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://h/a.git", "https://H:443/b.git", True),
        ("https://h/a.git", "https://h:8443/b.git", False),
        ("https://h/a.git", "http://h/b.git", False),
        ("http://h:3000/a.git", "http://h:3000/b.git", True),
        ("https://h/a.git", "https://h.evil.org/b.git", False),
        ("git@h:a.git", "ssh://git@h/b.git", True),
        ("git@h:a.git", "https://h/b.git", True),
        ("ssh://git@h:2222/a.git", "https://h/b.git", False),
        ("ssh://git@h/a.git", "http://h/b.git", False),
        ("/srv/a.git", "file:///srv/b.git", True),
        ("/srv/a.git", "https://h/b.git", False),
        ("https://h/a.git", "/srv/b.git", False),
    ],
)
def test_credentials_are_for_the_same_server_only(one: str, other: str, same: bool) -> None:
    assert same == Address(one).same_server(Address(other))
