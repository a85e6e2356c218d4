"""`gateway results --repository`: whose rows are found where, in repositories of both kinds."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from experimentdocs import contrast
from gitrepo import Remote, git
from mounted import Mounted

from gateway.chunks import ChunkKey
from gateway.cli import main
from gateway.errors import MissingRef
from gateway.experiments.document import ExperimentReadout
from gateway.layout import Kind, segment_path
from gateway.monitoring.segments import RESULT_COLUMNS
from gateway.names import Branch
from gateway.reporting.results_repository import Recomputed, of_repository
from gateway.reporting.results_terminal import terminal
from gateway.repositories.folder import Folder

HEADER = ",".join(RESULT_COLUMNS)
Place = Remote | Mounted


@pytest.fixture(params=["git", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A repository of each kind in turn."""
    return Remote(tmp_path / "r.git") if request.param == "git" else Mounted(tmp_path / "mnt")


def segment(candidate: str, number: int, *lines: str, kind: Kind = "results") -> dict[str, str]:
    """A segment of these lines, one an hour."""
    opened = datetime(2026, 11, 29, number, tzinfo=UTC)
    path = segment_path(kind, Branch(candidate), opened, ChunkKey("a" * 8, number))
    return {path: "".join(f"{line}\n" for line in (HEADER, *lines))}


def put(place: Place, branch: str, files: dict[str, str]) -> None:
    if isinstance(place, Remote):
        place.commit(branch, files)
    else:
        # What only the gateway wrote is no branch; its own aside is none either.
        model = {} if branch.startswith("gateway-") else {"models/m.pkl": "x"}
        place.write(branch, {**model, **files})


def recompute(texts: Iterable[tuple[str, str]]) -> Recomputed:
    """In place of statistics: a contrast that says which lines it was made of."""
    found = list(texts)
    assert all(text.startswith(HEADER + "\n") for _, text in found)
    if not found:
        return Recomputed([], "", [])
    lines = [line for _, text in found for line in text.splitlines()[1:]]
    candidate = Branch.of_folder(found[0][0].split("/")[2])
    bad = [f"{found[0][0]}:2: not a row"] if "bad" in lines else []
    made = contrast(str(candidate), reason=",".join(lines), until=f"2026-11-{len(lines):02}")
    return Recomputed([made], f"salt of {candidate}", bad)


def read(place: Place, folder: Path, candidate: str | None = None) -> ExperimentReadout:
    repository = Folder(place.path) if isinstance(place, Mounted) else str(place.path)
    environ = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    asked = Branch(candidate) if candidate else None
    return of_repository(repository, asked, recompute, environ, now=lambda: 0.0)


def lines(found: ExperimentReadout) -> dict[str, str]:
    return {one.candidate: one.reason for one in found.contrasts}


def test_every_candidate_is_found_in_its_branch_and_its_side_branch_in_time_order(
    place: Place, tmp_path: Path
) -> None:
    put(place, "prod", {"README": "x"})
    put(place, "exp", segment("exp", 2, "b") | segment("exp", 1, "a"))
    put(place, "gateway-monitoring/exp", segment("exp", 3, "c") | segment("exp", 1, "a"))
    put(place, "gateway-monitoring/team+new", segment("team/new", 1, "d"))
    found = read(place, tmp_path)
    assert lines(found) == {"exp": "a,b,c", "team/new": "d"}
    assert found.written == "1970-01-01T00:00:00.000Z"
    assert (found.baseline, found.salt, found.epoch) == ("prod", "salt of exp", "0" * 11 + "1")
    assert "Recomputed from the repository's rows alone" in found.warnings[0]
    assert len(found.warnings) == 1
    assert lines(read(place, tmp_path, "exp")) == {"exp": "a,b,c"}
    assert lines(read(place, tmp_path, "team/new")) == {"team/new": "d"}


def test_rows_that_were_merged_elsewhere_count_only_if_their_branch_is_gone(
    place: Place, tmp_path: Path
) -> None:
    put(place, "exp", segment("exp", 1, "own"))
    put(place, "prod", segment("exp", 2, "merged") | segment("gone", 1, "last"))
    assert lines(read(place, tmp_path)) == {"exp": "own", "gone": "last"}
    assert lines(read(place, tmp_path, "exp")) == {"exp": "own"}
    assert lines(read(place, tmp_path, "gone")) == {"gone": "last"}


def test_rows_of_another_kind_make_no_candidate(place: Place, tmp_path: Path) -> None:
    put(place, "exp", segment("exp", 1, "a", kind="predictions"))
    found = read(place, tmp_path)
    assert found.contrasts == ()
    assert found.warnings == ("The repository holds no results rows.",)
    assert "Nothing is compared yet" in terminal(found, 100)
    assert read(place, tmp_path, "exp").contrasts == ()


def test_a_candidate_that_is_nowhere_is_an_error(place: Place, tmp_path: Path) -> None:
    put(place, "exp", segment("exp", 1, "a"))
    with pytest.raises(MissingRef, match="neither other nor gateway-monitoring/other"):
        read(place, tmp_path, "other")


def test_lines_that_are_no_rows_are_counted_and_named(place: Place, tmp_path: Path) -> None:
    put(place, "exp", segment("exp", 1, "bad"))
    (path,) = segment("exp", 1)
    assert read(place, tmp_path).warnings[1] == (
        f"1 lines are no rows and left out, such as {path}:2: not a row."
    )


def test_the_rows_themselves_are_exported(remote: Remote) -> None:
    put(remote, "exp", segment("exp", 1, "a") | segment("exp", 2, "b"))
    asked = ["export", "exp", "--repository", str(remote.path), "--kind", "results"]
    done = CliRunner().invoke(main, asked)
    assert (done.stdout, done.exit_code) == (f"{HEADER}\na\nb\n", 0)


def test_a_branch_that_moves_between_two_looks_is_looked_at_again(
    remote: Remote, tmp_path: Path
) -> None:
    """As when the gateway pushes while it is read: what was listed is not there any more."""
    put(remote, "exp", segment("exp", 1, "a"))
    gone = remote.tip("exp")
    put(remote, "exp", segment("exp", 2, "b"))
    stale = tmp_path / "bin" / "git"
    stale.parent.mkdir()
    real = git(tmp_path, "--exec-path") + "/git"
    # The first look lists a commit that no repository has.
    stale.write_text(
        f"#!/bin/sh\ncase \"$*\" in *'ls-remote --quiet --heads'*)\n"
        f"if mkdir {tmp_path}/once 2>/dev/null; then"
        f" printf '%040d\\trefs/heads/exp\\n' 7; exit 0; fi;; esac\nexec {real} \"$@\"\n"
    )
    stale.chmod(0o755)
    environ = {"PATH": f"{stale.parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    found = of_repository(str(remote.path), None, recompute, environ)
    assert (tmp_path / "once").exists()
    assert gone != remote.tip("exp")
    assert lines(found) == {"exp": "a,b"}


def test_the_command_recomputes_and_asks_no_gateway(
    remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(remote, "exp", segment("exp", 1, "a"))
    parsed: list[tuple[str, str]] = []

    def parse_rows(texts: Iterable[tuple[str, str]]) -> Any:
        parsed.extend(texts)
        of = SimpleNamespace(id=contrast().contrast, salt="from the rows")
        return SimpleNamespace(rows=[SimpleNamespace(contrast=of)], bad=[])

    def stand_in(module: str, **content: object) -> None:
        made = ModuleType(module)
        vars(made).update(content)
        monkeypatch.setitem(sys.modules, f"gateway.experiments.{module}", made)

    stand_in("rows", parse_rows=parse_rows)
    stand_in("recomputed", recomputed=lambda rows: [contrast(status="worse")] * len(rows))
    file = tmp_path / "gateway.yaml"
    file.write_text("repository: /other\n")
    for more in ([], ["exp"], ["--config", str(file)]):
        asked = ["results", *more, "--repository", str(remote.path), "--json"]
        done = CliRunner().invoke(main, [*asked, "--fail-on", "worse"], obj=os.environ)
        assert (done.exit_code, done.stderr) == (1, "")
        found = msgspec.json.decode(done.stdout, type=ExperimentReadout)
        assert [one.candidate for one in found.contrasts] == ["exp"]
        assert found.salt == "from the rows"
    assert parsed == [*segment("exp", 1, "a").items()] * 3
    away = CliRunner().invoke(main, ["results", "--repository", str(tmp_path / "no")])
    assert (away.exit_code, str(tmp_path / "no") in away.stderr) == (2, True)
