"""Where a reference comes from, what is said where it does not, and what it is worth later."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from chunkfiles import FINGERPRINT, header, request, schema, write
from driftchunks import NAMES, Kept, NoFiles, at, bring_reference, profile
from gitrepo import Remote, pin
from mounted import Mounted

from gateway.errors import ContentAway, RemoteUnavailable
from gateway.monitoring.drift.files import BranchFiles, FolderFiles, GitFiles
from gateway.monitoring.drift.tries import PATIENCE, NotYet, Tries
from gateway.monitoring.monitor_settings import ReferenceSettings
from gateway.repositories.data import BranchData
from gateway.repositories.folder import Folder
from gateway.repositories.git import Git
from gateway.statistics.reference import LATENCY, PREDICTION, SCORE, encode_profile

HOUR = 3600.0
TRAIN = "data/train.csv"
DATA = {"reference": ReferenceSettings(TRAIN, "y")}
Make = Callable[..., Kept]
#: Served rows that make a reference here: a tenth of what they are.
FEW = 500


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("references", "documents"):
        monkeypatch.setattr(f"gateway.monitoring.drift.{module}.SERVED_ROWS", FEW)


def table(rows: int = 500, *, shift: float = 0.0, names: Sequence[str] = NAMES) -> str:
    values = np.random.default_rng(4).normal(size=(rows, len(names))) + shift
    lines = [",".join(f"{value:.6f}" for value in row) + ",1" for row in values]
    return "\n".join([",".join([*names, "y"]), *lines]) + "\n"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Kept] = []

    def new(files: BranchFiles | None = None, **more: Any) -> Kept:
        made.append(Kept(tmp_path / f"state{len(made)}", files=files, **more))
        return made[-1]

    yield new
    for one in made:
        one.__exit__()


@pytest.fixture
def files(remote: Remote, tmp_path: Path) -> GitFiles:
    """Of the branches of a real repository."""
    git = Git(tmp_path / "cache", str(remote.path), {"PATH": os.environ["PATH"], "HOME": "/"})
    git.prepare()
    return GitFiles(BranchData(git, tmp_path / "submodules"))


def serve(kept: Kept, tip: str) -> None:
    """The front writes down that prod serves this content of this tip."""
    said = {"prod": {"tip": tip, "commit": tip, "commit_known": True, "fingerprint": FINGERPRINT}}
    (kept.state / "served.json").write_text(json.dumps(said))


def reference(kept: Kept) -> dict[str, Any]:
    found: dict[str, Any] = kept.report()["reference"]
    return found


def trouble(kept: Kept) -> str:
    return str(kept.report()["trouble"])


# What the branch brings


def test_it_is_the_snapshots(make: Make) -> None:
    kept = make()
    brought = profile()
    bring_reference(kept.state, brought)
    kept.chunk(0, 10)
    assert (reference(kept)["id"], reference(kept)["n"]) == (brought.id, 2000)
    assert isinstance(kept.files, NoFiles)
    assert kept.files.asked == [], "git is not asked for what lies at hand"


def test_it_is_gits_at_the_commit_of_the_rows_where_the_snapshot_is_gone(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    brought = profile()
    commit = remote.commit("prod", {"metrics/reference.json": encode_profile(brought)})
    remote.commit("prod", {"metrics/reference.json": encode_profile(profile(rows=50))})
    kept = make(files)
    kept.chunk(0, 10, fields={"commit": commit})
    assert reference(kept)["id"] == brought.id
    assert not list(kept.state.glob("reference*")), "what was brought is taken away again"


def test_a_branch_without_one_in_git_has_none_and_nothing_is_wrong(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    kept = make(files)
    kept.chunk(0, 10, fields={"commit": remote.commit("prod", {"README": "x"})})
    kept.restart()
    assert kept.report()["state"] == "collecting"
    assert kept.report()["trouble"] is None
    gone = make(files)
    gone.chunk(0, 10)  # of a commit that nobody has any more
    assert gone.report()["state"] == "collecting"


def test_a_file_that_has_only_examples_is_no_reference(make: Make) -> None:
    kept = make()
    bring_reference(kept.state, b'{"examples": [[1, 2]]}')
    kept.chunk(0, 10)
    assert (kept.report()["state"], kept.report()["trouble"]) == ("collecting", None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "metrics/reference.json: Input data was truncated"),
        (b"[]", "metrics/reference.json: Expected `object`"),
        (
            encode_profile(profile({"income": [1.0, 2.0] * 9, "age": [1.0, 2.0] * 9})),
            "column 0 must be 'age', as in the model. Given: 'income'",
        ),
        (encode_profile(profile({"age": [1.0, 2.0] * 9})), "must have the model's 2 columns"),
    ],
)
def test_what_is_wrong_with_it_is_said_and_the_next_source_is_taken(
    make: Make, remote: Remote, files: GitFiles, content: bytes, said: str
) -> None:
    kept = make(files, drift=DATA)
    bring_reference(kept.state, content)
    kept.chunk(0, 10, fields={"commit": remote.commit("prod", {TRAIN: table()})})
    kept.restart()
    assert said in trouble(kept)
    assert reference(kept)["source"]["type"] == "data"
    live = make()
    bring_reference(live.state, content)
    live.chunk(0, 10)
    assert said in trouble(live)
    assert live.report()["state"] == "collecting"


# The data that drift.reference names


def test_it_is_made_of_the_data_and_says_of_which(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    kept = make(files, drift=DATA)
    commit = remote.commit("prod", {TRAIN: table()})
    bring_reference(kept.state, None)
    kept.chunk(0, 300, fields={"commit": commit})
    found = reference(kept)
    assert (found["n"], found["live"]) == (500, False)
    assert found["source"].items() >= {"type": "data", "path": TRAIN, "commit": commit}.items()
    kept.close()
    assert {row["column"] for row in kept.written()} == set(NAMES)
    assert {row["severity"] for row in kept.written()} == {"ok"}
    assert not list(kept.state.glob("reference*"))


def test_it_is_of_the_pinned_commit_where_data_is_a_submodule(
    make: Make, remote: Remote, files: GitFiles, tmp_path: Path
) -> None:
    data = Remote(tmp_path / "data.git")
    pinned = data.commit("prod", {"train.csv": table()})
    data.commit("prod", {"train.csv": table(50)})
    remote.commit("prod", {"README": "x"})
    tip = pin(remote, "prod", "data", "../data.git", pinned)
    kept = make(files, drift=DATA)
    bring_reference(kept.state, None)
    kept.chunk(0, 10, fields={"commit": tip})
    assert (reference(kept)["n"], reference(kept)["source"]["commit"]) == (500, pinned)


def test_data_that_moved_alone_is_the_reference_from_the_next_window_on(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    """The rows still name the commit that serves; only the tip says that there is newer data."""
    commit = remote.commit("prod", {TRAIN: table()})
    kept = make(files, drift=DATA)
    bring_reference(kept.state, None)
    serve(kept, commit)
    kept.chunk(0, 300, fields={"commit": commit})
    before = reference(kept)["id"]
    serve(kept, remote.commit("prod", {TRAIN: table(shift=3.0)}))
    kept.chunk(700, 300, fields={"commit": commit})
    assert reference(kept)["id"] != before
    kept.restart()
    kept.chunk(HOUR, 300, fields={"commit": commit})
    kept.close()
    rows = [row for row in kept.written() if row["column"] in NAMES]
    found = [(row["n"], row["reference_id"] == before, row["severity"]) for row in rows]
    assert found == [("600", True, "ok")] * 2 + [("300", False, "critical")] * 2
    decisions = kept.written("decisions")
    assert len(decisions) == 1


def test_a_tip_that_moved_without_its_data_is_looked_at_once_and_nothing_is_read(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    commit = remote.commit("prod", {TRAIN: table()})
    counted = Counting(files)
    kept = make(counted, drift=DATA)
    bring_reference(kept.state, None)
    kept.chunk(0, 10, fields={"commit": commit})
    assert (counted.read, counted.looked) == (1, 1)
    serve(kept, remote.commit("prod", {"README": "news"}))
    for _ in range(3):
        kept.chunk(60, 10, fields={"commit": commit})
        kept.restart()
    assert (counted.read, counted.looked) == (1, 2)


class Counting:
    """How often a file was looked at and read; `failure` is raised instead, if it is set."""

    def __init__(self, files: BranchFiles) -> None:
        self.read = self.looked = 0
        self.failure: Exception | None = None
        self._files = files

    def identity(self, *given: Any) -> str:
        self.looked += 1
        if self.failure is not None:
            raise self.failure
        return self._files.identity(*given)

    def write(self, *given: Any) -> dict[str, Any]:
        self.read += 1
        if self.failure is not None:
            raise self.failure
        return self._files.write(*given)


@pytest.mark.parametrize(
    ("content", "reference_of", "said"),
    [
        (None, ReferenceSettings(TRAIN), "no data"),
        (table(), ReferenceSettings("data/other.csv"), "no data/other.csv"),
        (table(), ReferenceSettings("data"), "a folder"),
        (table(), ReferenceSettings(TRAIN, max_bytes=100), "at most 100 are read"),
        (table(), ReferenceSettings(TRAIN, "z"), "has no column 'z', the target"),
        (b"\xff\xfe\x00", ReferenceSettings(TRAIN), "must be UTF-8"),
        ("age,income,y\n1,2\n", ReferenceSettings(TRAIN), "must have 3 fields"),
        ("age,income,y\n", ReferenceSettings(TRAIN), "no rows"),
        (table(names=["age", "weight"]), ReferenceSettings(TRAIN), "income"),
        (b"PAR1 is not all there is to it", ReferenceSettings(TRAIN), "read"),
    ],
)
def test_what_is_wrong_with_the_data_is_said_and_served_rows_are_taken(
    make: Make,
    remote: Remote,
    files: GitFiles,
    content: bytes | str | None,
    reference_of: ReferenceSettings,
    said: str,
) -> None:
    kept = make(files, drift={"reference": reference_of})
    commit = remote.commit("prod", {"README": "x", **({TRAIN: content} if content else {})})
    bring_reference(kept.state, None)
    kept.chunk(0, 10, fields={"commit": commit})
    kept.restart()
    assert said in trouble(kept)
    assert str(kept.state) not in trouble(kept), "nobody knows where we keep things"
    assert kept.report()["collected"] == {"rows": 10, "of": FEW}
    assert not list(kept.state.glob("reference*"))


def test_data_that_becomes_unreadable_leaves_the_reference_as_good_as_it_was(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    commit = remote.commit("prod", {TRAIN: table()})
    kept = make(files, drift=DATA)
    bring_reference(kept.state, None)
    kept.chunk(0, FEW, fields={"commit": commit})
    before = reference(kept)["id"]
    serve(kept, remote.commit("prod", {TRAIN: "broken\n1,2\n"}))
    kept.chunk(HOUR, 300, fields={"commit": commit})
    assert reference(kept)["id"] == before
    assert trouble(kept).startswith(f"{TRAIN}, line 2: must have 1 fields")
    serve(kept, remote.commit("prod", {TRAIN: None}))
    kept.chunk(HOUR + 700, 300, fields={"commit": commit})
    assert reference(kept)["id"] == before
    assert "no data" in trouble(kept)
    kept.close()
    assert [row["n"] for row in kept.written() if row["column"] == "age"] == [str(FEW), "600"]
    serve(kept, remote.commit("prod", {TRAIN: table(shift=1.0)}))
    kept.chunk(2 * HOUR, 300, fields={"commit": commit})
    assert reference(kept)["id"] != before
    assert kept.report()["trouble"] is None


def test_a_defect_in_reading_the_data_costs_the_branch_no_drift(
    make: Make, remote: Remote, files: GitFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("cannot count")

    monkeypatch.setattr("gateway.monitoring.drift.references.profile_table", broken)
    kept = make(files, drift=DATA)
    bring_reference(kept.state, None)
    kept.chunk(0, 10, fields={"commit": remote.commit("prod", {TRAIN: table()})})
    assert "RuntimeError('cannot count')" in trouble(kept)
    assert kept.report()["state"] == "collecting"


def test_data_that_is_named_later_takes_the_place_of_served_rows(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    commit = remote.commit("prod", {TRAIN: table()})
    kept = make(files)
    bring_reference(kept.state, None)
    kept.chunk(0, FEW, fields={"commit": commit})
    assert reference(kept)["live"]
    wanted = msgspec.structs.replace(kept.settings.drift, reference=DATA["reference"])
    kept.settings = msgspec.structs.replace(kept.settings, drift=wanted)
    kept.chunk(HOUR, 300, fields={"commit": commit})
    found = reference(kept)
    assert (found["live"], found["n"], found["source"]["type"]) == (False, 500, "data")
    kept.close()
    rows = {row["column"]: row["n_ref"] for row in kept.written()}
    assert rows == {
        **dict.fromkeys(NAMES, "500"),
        **dict.fromkeys((SCORE, LATENCY, PREDICTION), str(FEW)),
    }


def test_a_mounted_folders_data_is_read_as_it_lies_there(make: Make, tmp_path: Path) -> None:
    mounted = Mounted(tmp_path / "mnt")
    mounted.write("prod", {"models/m.pkl": "x", TRAIN: table()})
    kept = make(FolderFiles(Folder(mounted.path)), drift=DATA)
    bring_reference(kept.state, None)
    kept.chunk(0, 10)
    before = reference(kept)
    assert (before["n"], before["source"]) == (500, {"type": "data", "path": TRAIN})
    mounted.write("prod", {TRAIN: table(600)})
    serve(kept, "1" * 40)
    kept.chunk(HOUR, 10)
    assert reference(kept)["n"] == 600


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (ReferenceSettings("data/none.csv"), "no data/none.csv"),
        (ReferenceSettings("none/train.csv"), "no none/train.csv"),
        (ReferenceSettings(TRAIN, max_bytes=10), "at most 10 are read"),
    ],
)
def test_what_is_wrong_in_a_mounted_folder_is_said(
    make: Make, tmp_path: Path, settings: ReferenceSettings, said: str
) -> None:
    mounted = Mounted(tmp_path / "mnt")
    mounted.write("prod", {"models/m.pkl": "x", TRAIN: table()})
    kept = make(FolderFiles(Folder(mounted.path)), drift={"reference": settings})
    bring_reference(kept.state, None)
    kept.chunk(0, 10)
    assert said in trouble(kept)
    assert not list(kept.state.glob("reference*"))


# What cannot be fetched now


@pytest.mark.parametrize(
    "failure",
    [
        RemoteUnavailable("no route"),
        ContentAway("pinned at a commit that nobody pushed"),
        OSError(errno.ENOSPC, "No space left"),
    ],
)
def test_rows_wait_for_what_is_away_for_so_long_and_then_go_on_without(
    make: Make, failure: Exception
) -> None:
    files = NoFiles()
    files.refusal = failure
    kept = make(files, drift=DATA)
    path = kept.traffic.chunk(0, 300)
    asked = 0
    while kept.now < PATIENCE:
        with pytest.raises(NotYet, match=str(failure.args[-1])[:8]):
            kept.take(path)
        assert kept.report()["state"] == "waiting"
        kept.now += 2
        asked += 1
    assert len(files.asked) < asked / 2, "asking takes time, which publishing needs"
    kept.take(path)
    assert kept.report()["state"] == "collecting"
    assert str(failure.args[-1]) in trouble(kept)
    kept.take(path)
    assert kept.status()["rows"] == {"prod": 300}


def test_what_takes_long_to_fail_is_asked_for_rarely() -> None:
    now = 0.0
    tries = Tries(lambda: now)
    began = tries.begun()
    now = 60.0
    assert not tries.failed("a", began, "too slow")
    now = 60.0 + 4 * 60.0 - 1
    assert tries.refusal("a") == "too slow"
    assert tries.refusal("b") is None
    now += 2
    assert tries.refusal("a") is None
    assert not tries.failed("a", tries.begun(), "no route")
    now += 6
    assert tries.refusal("a") is None, "what fails at once may be asked for soon"
    now = PATIENCE
    assert tries.failed("a", tries.begun(), "no route")
    tries.succeeded("a")
    assert not tries.failed("a", tries.begun(), "away again")


def test_a_remote_that_comes_back_gives_the_reference(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    commit = remote.commit("prod", {"metrics/reference.json": encode_profile(profile())})
    away = Counting(files)
    away.failure = RemoteUnavailable("no route")
    kept = make(away)
    path = kept.traffic.chunk(0, 300, fields={"commit": commit})
    with pytest.raises(NotYet):
        kept.take(path)
    away.failure = None
    kept.now += 31
    kept.take(path)
    assert reference(kept)["n"] == 2000


def test_a_known_reference_holds_while_nobody_can_say_whether_its_data_moved(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    commit = remote.commit("prod", {TRAIN: table()})
    away = Counting(files)
    kept = make(away, drift=DATA)
    bring_reference(kept.state, None)
    kept.chunk(0, 10, fields={"commit": commit})
    away.failure = RemoteUnavailable("no route")
    serve(kept, remote.commit("prod", {TRAIN: table(600)}))
    for start in range(60, 120, 10):
        kept.chunk(start, 10, fields={"commit": commit})
    assert away.looked == 2, "each look may take as long as git is given"
    assert reference(kept)["n"] == 500
    away.failure, kept.now = None, 100.0
    kept.chunk(200, 10, fields={"commit": commit})
    assert reference(kept)["n"] == 600


# Served rows


def test_exactly_the_first_rows_are_the_reference_and_all_others_are_counted(make: Make) -> None:
    kept = make()
    bring_reference(kept.state, None)
    kept.chunk(0, FEW - 1)
    kept.restart()
    assert kept.report()["collected"] == {"rows": FEW - 1, "of": FEW}
    kept.chunk(600, 251)
    kept.close()
    assert {row["n"] for row in kept.written()} == {"250"}
    assert {row["n_ref"] for row in kept.written()} == {str(FEW)}
    assert kept.store.recall("sample") == {}
    assert reference(kept)["source"] == {"type": "live", "until": at(600)}


def test_labels_of_a_classifier_are_categories_and_answers_of_a_regression_numbers(
    make: Make,
) -> None:
    kinds = []
    for shares in ([[0.4, 0.6]], None):
        kept = make()
        bring_reference(kept.state, None)
        for start in (0, HOUR):
            fields = {"predictions": [3], "probabilities": shares}
            if shares is None:
                del fields["probabilities"]
            chunk = kept.traffic.chunk(start, FEW, fields=fields)
            if shares is None:
                text = chunk.read_bytes().replace(b', "probabilities": [[0.4, 0.6]]', b"")
                chunk.write_bytes(text)
            kept.take(chunk)
        kept.close()
        kinds.append({row["column"]: row["kind"] for row in kept.written()})
    assert kinds[0][PREDICTION] == "categorical"
    assert kinds[1][PREDICTION] == "discrete"
    assert SCORE in kinds[0]
    assert SCORE not in kinds[1]


def test_columns_that_some_chunks_alone_have_are_of_as_many_rows_as_had_them(make: Make) -> None:
    kept = make()
    bring_reference(kept.state, None)
    for number, row in enumerate(({"a": 1.5}, {"b": "x", "a": 2.5}), start=1):
        lines: list[Any] = [header(number, opened=at(number)), schema(None, [0, 1])]
        lines += [
            request(number * 10_000 + n, ts=at(number), unit=f"{n:016x}", instances=[row])
            for n in range(260)
        ]
        kept.take(write(kept.state / "journal", lines))
    kept.close()
    found = {row["column"]: (row["n_ref"], row["n"]) for row in kept.written()}
    assert found["a"] == (str(FEW), "20")
    assert found["b"] == ("240", "20")


def test_with_features_none_answers_alone_are_measured(make: Make) -> None:
    kept = make()
    bring_reference(kept.state, None)
    for start in (0, HOUR):
        kept.chunk(start, FEW, features="none")
    kept.close()
    assert [row["column"] for row in kept.written()] == [PREDICTION, SCORE, LATENCY]
    assert b"income" not in kept.bytes_on_disk()


SECRET = "hunter2-is-no-plan"


@pytest.mark.parametrize("source", ["live", "branch", "data"])
def test_of_a_redacted_column_nothing_is_kept_anywhere(
    make: Make, remote: Remote, files: GitFiles, source: str
) -> None:
    """Whether the values are served ones or those of the branch's own files."""
    kept = make(files, drift=DATA if source == "data" else None, redact=("plan",))
    secrets = [f"{SECRET}-{n % 3}" for n in range(400)]
    columns: dict[str, list[Any]] = {"age": [float(n) for n in range(400)], "plan": secrets}
    brought = profile(columns) if source == "branch" else None
    bring_reference(kept.state, brought)
    rows = [f"{age},{plan},1" for age, plan in zip(*columns.values(), strict=True)]
    commit = remote.commit("prod", {TRAIN: "\n".join(["age,plan,y", *rows])})
    for hour in range(2):
        fields = {"instances": [[1.5, SECRET]], "normalised": True, "commit": commit}
        kept.chunk(hour * HOUR, FEW, names=("age", "plan"), fields=fields, redact=["plan"])
    kept.close()
    report = json.dumps(kept.report())
    kept.restart()
    assert "hunter2" not in report
    assert b"hunter2" not in kept.bytes_on_disk()
    rows_of = {row["column"]: (row["kind"], row["reason"]) for row in kept.written()}
    assert "age" in rows_of
    assert rows_of.get("plan") == (None if source == "live" else ("skipped", "redacted"))


def test_redaction_that_comes_later_takes_the_column_out_of_the_reference(make: Make) -> None:
    kept = make()
    columns: dict[str, list[Any]] = {"age": [1.5, 2.5] * 200, "plan": [SECRET, "b"] * 200}
    bring_reference(kept.state, profile(columns))
    fields = {"instances": [[1.5, SECRET]], "normalised": True}
    kept.chunk(0, 300, names=("age", "plan"), fields=fields)
    kept.chunk(HOUR, 300, names=("age", "plan"), fields=fields, redact=["plan"])
    kept.close()
    found = [(row["column"], row["kind"], row["n"]) for row in kept.written()]
    assert found[2:] == [("age", "discrete", "300"), ("plan", "skipped", "0")]
    assert "hunter2" not in json.dumps(kept.report())
    assert all(b"hunter2" not in data for data in kept.store.recall("profile").values())


def test_served_columns_stay_when_the_data_moves(
    make: Make, remote: Remote, files: GitFiles
) -> None:
    commit = remote.commit("prod", {TRAIN: table()})
    kept = make(files, drift=DATA)
    bring_reference(kept.state, None)
    kept.chunk(0, FEW, fields={"commit": commit})
    serve(kept, remote.commit("prod", {TRAIN: table(600)}))
    kept.chunk(HOUR, 300, fields={"commit": commit})
    kept.close()
    found = {row["column"]: row["n_ref"] for row in kept.written() if row["n"] == "300"}
    assert found == {
        **dict.fromkeys(NAMES, "600"),
        **dict.fromkeys((PREDICTION, SCORE, LATENCY), str(FEW)),
    }
