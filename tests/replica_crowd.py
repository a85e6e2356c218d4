"""The users of several replicas, and the truth that all of them together are held to.

`Crowd` is the world of `experiment_world`, whose people go to any replica that is up, and to
another one when it is killed under them. `Truth` is what they lived, and `check` compares it with
git and with what every replica reads out.
"""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TextIO

import experiment_recomputed as recomputed
import pytest
from experiment_world import CONNECTIONS, WINDOW, Connection, Item, Visit, World
from gitrepo import Remote, git
from replicas import KEY, Replicas
from running import Gateway, recorded
from waiting import wait_until, wait_until_async

METRICS = {
    "conversion": {"role": "primary", "kind": "binary", "window": f"{WINDOW:g}s"},
    "accuracy": {"kind": "ratio", "missing": "unknown", "window": f"{WINDOW:g}s"},
    "spent": {"kind": "mean", "window": f"{WINDOW:g}s"},
}
PLANNED = 10_000
BRANCHES = ("prod", "exp")
#: Answers are the same from all fronts and at all times: a timeout would send a user to prod.
PATIENT = {"timeout": "20s"}


class Crowd(World):
    """The people of several replicas."""

    def __init__(self, replicas: Replicas, log: TextIO, seed: int) -> None:
        super().__init__(replicas.fronts[0], log, seed)
        self.replicas = replicas
        self.kills = 0
        #: Seconds a connection rests between two requests.
        self.pause = 0.0
        #: Nobody asks any more.
        self.is_over = False
        self._turns = itertools.count()

    def _address(self) -> str:
        return self.replicas.url(next(self._turns))

    async def in_force(
        self, weights: Mapping[str, float], commits: Mapping[str, str] | None = None
    ) -> None:
        """At every replica; `commits` are what is to be served, where that changed."""

        def pages() -> list[dict[str, Any]] | None:
            found = [front.get("/branches").json() for front in self.replicas.up]
            right = all(
                page["branches"][name]["weight"] == weight
                and page["branches"][name]["serving"]
                and page["branches"][name]["serving"]["commit"]
                == (commits or {}).get(name, page["branches"][name]["serving"]["commit"])
                for page in found
                for name, weight in weights.items()
            )
            return found if right and len({page["epoch"] for page in found}) == 1 else None

        found = await asyncio.to_thread(wait_until, pages, 120.0, self.replicas.words)
        assert isinstance(found, list)
        self.note_epoch(found[0], weights)

    async def _visit(self, connection: Connection, visit: Visit) -> bool:
        """Who is not answered asks another replica."""
        if self.pause:
            await asyncio.sleep(self.pause)
        while not await super()._visit(connection, visit):
            pass
        return True

    def _told(self, item: Item, status: str) -> None:
        """Some say it again. The same: of two that differ the first that arrives would count."""
        if status == "accepted" and "again" not in item and self._rng.random() < 0.05:
            self._push(self._rng.uniform(0.0, WINDOW / 8), {**item, "again": True})

    async def _send(self, connection: Connection, items: Any) -> None:
        """To another replica each time, wherever the request was answered."""
        await connection.close()
        await super()._send(connection, items)

    async def more(self, count: int) -> None:
        """Until so many requests more are answered, or nobody asks any more."""
        wanted = self.answered + count
        await wait_until_async(lambda: self.answered >= wanted or self.is_over, 120.0)

    async def kill(self, front: Gateway) -> None:
        """With requests under way; outcomes rest, since nobody can tell which were taken."""
        await self._end(front, self.replicas.kill)

    async def stop(self, front: Gateway) -> None:
        """In order: connections end behind answers."""
        await self._end(front, self.replicas.stop)

    async def _end(self, front: Gateway, how: Callable[[Gateway], object]) -> None:
        async with self._telling:
            await self._teller.close()
            self.kills += 1
            self.note("ended", who=front.folder.name)
            await asyncio.to_thread(how, front)


class Truth:
    """What the crowd lived, once all of it is in git."""

    def __init__(self, log: Path, remote: Remote, replicas: Replicas) -> None:
        """Waits for the rows."""
        said = [json.loads(line) for line in log.read_text().splitlines()]
        asked = [one for one in said if one["t"] == "asked"]
        self.refused = [one for one in asked if one["status"] != 200]
        assert self.refused == []
        self.ids = {one["answer"]["request_id"] for one in asked}
        assert len(self.ids) == len(asked)
        self.remote, self.replicas = remote, replicas

        def pushed() -> list[dict[str, str]] | None:
            rows = [row for branch in BRANCHES for row in recorded(remote, branch)]
            return rows if self.ids <= {row["request_id"] for row in rows} else None

        rows = wait_until(pushed, 120.0, replicas.words)
        assert isinstance(rows, list)
        self.rows: list[dict[str, str]] = rows
        self.found = recomputed.told(log, KEY.encode(), rows, WINDOW)
        self.contrasts = recomputed.contrasts(self.found, WINDOW)
        self._log = said

    def check(self) -> None:
        """Everything that must be true of it."""
        self.check_rows()
        self.check_branches()
        self.check_outcomes()
        document = self.read_out()
        self.check_counts(document)
        shown = {one["candidate_fingerprint"]: one for one in document["contrasts"]}
        assert len(shown) == len(self.contrasts)
        for one in self.contrasts:
            check_contrast(shown[one.fingerprints[1]], one)
        wait_until(lambda: told_by_rows(self.remote) == self._same()["contrasts"], 120.0)

    def check_rows(self) -> None:
        """Every answered request once, with each of its rows once, in one segment."""
        counts = Counter((row["request_id"], row["row"]) for row in self.rows)
        assert [one for one, times in counts.items() if times != 1] == []
        rows_of = Counter(request for request, _ in counts)
        asked = [one for one in self._log if one["t"] == "asked"]
        wrong = [a for a in asked if rows_of[a["answer"]["request_id"]] != a["rows"]]
        assert wrong == []
        for branch in BRANCHES:
            names = [path.rpartition("/")[2] for path in _segments(self.remote, branch)]
            assert len(names) == len(set(names)), "a segment that is there twice"

    def check_branches(self) -> None:
        """Nobody was answered by another branch than the weights say: at no replica, at no time."""
        moved = []
        epoch: dict[str, Any] = {}
        for one in self._log:
            if one["t"] == "epoch":
                epoch = one
            elif one["t"] == "asked" and one["unit"] is not None and not one["robot"]:
                arm = recomputed.arm_of(one["unit"], epoch["salt"], epoch["weights"])
                if one["answer"]["branch"] != arm:
                    moved.append((one["unit"], arm, one["answer"]))
        assert moved == []

    def check_outcomes(self) -> None:
        """Every outcome that was accepted is in git once."""

        def written() -> Counter[tuple[str, int, str]]:
            return Counter(
                (row["request_id"], int(row["row"]), row["metric"])
                for branch in BRANCHES
                for row in outcomes(self.remote, branch)
                if row["status"] == "accepted"
            )

        accepted = Counter(key for key in self.found.outcomes if key[0] in self.ids)
        wait_until(lambda: written() == accepted, 60.0, lambda: _difference(written(), accepted))

    def check_counts(self, document: dict[str, Any]) -> None:
        """What became of all that was told; nothing of it is part of an estimate."""
        feedback, found = document["feedback"], self.found
        assert feedback["late"] == len(found.late)
        assert feedback["duplicate"] == len(found.duplicates)
        assert feedback["unknown"] + feedback["waiting"] == found.unknown
        assert feedback["accepted"] == len(found.outcomes) - found.unknown
        assert document["excluded"] == {"excluded": found.robots}

    def read_out(self) -> dict[str, Any]:
        """The one that all replicas give, once it has everything and all of it counts."""
        found = wait_until(self._mature, 120.0, self._why)
        assert isinstance(found, dict)
        return found

    def _mature(self) -> dict[str, Any] | None:
        document = self._same()
        for one in document.get("contrasts", []):
            if any(metric["pending_units"] for metric in one["metrics"]):
                return None
        shown = {one["candidate_fingerprint"]: one for one in document.get("contrasts", [])}
        for one in self.contrasts:
            found = shown.get(one.fingerprints[1])
            if found is None or shown_units(found) != units_of(one):
                return None
            shown_of = {metric["name"]: metric for metric in found["metrics"]}
            # Those that come after their time, or again, are added when they come.
            for name in recomputed.METRICS:
                found = shown_of[name]
                if (found["late"], found["duplicate"]) != (one.late[name], one.duplicates[name]):
                    return None
        return document if document["feedback"]["late"] >= len(self.found.late) else None

    def _same(self) -> dict[str, Any]:
        """What they all say; nothing while one says otherwise."""
        first, *others = self.replicas.read_outs()
        same = all(one["contrasts"] == first["contrasts"] for one in others)
        return first if same else {"contrasts": []}

    def _why(self) -> str:
        read = [
            {key: one.get(key) for key in ("feedback", "contrasts")}
            for one in self.replicas.read_outs()
        ]
        wanted = [(units_of(one), one.late, one.duplicates) for one in self.contrasts]
        return f"wanted {wanted}; read {json.dumps(read)[:6000]}\n{self.replicas.words()}"


def check_contrast(found: dict[str, Any], one: recomputed.Contrast) -> None:
    """Every figure of it that does not depend on which replica's rows were read first."""
    assert (found["baseline_fingerprint"], found["candidate_fingerprint"]) == one.fingerprints
    assert not found["sample_ratio"]["mismatch"]
    assert shown_units(found) == units_of(one)
    metrics = {metric["name"]: metric for metric in found["metrics"]}
    for name in recomputed.METRICS:
        shown, grown = metrics[name], one.metrics[name]
        arms = [shown["baseline"], shown["candidate"]]
        of_units = grown if name == "accuracy" else one.exposure
        assert (shown["late"], shown["duplicate"]) == (one.late[name], one.duplicates[name])
        assert [arm["outcomes"] for arm in arms] == grown.outcomes.tolist()
        first_met([arm["events"] for arm in arms], grown, one.multiple)
        first_met([arm["units"] for arm in arms], of_units, one.multiple)
        mean = one.mean(name, PLANNED)
        assert [arm["value"] for arm in arms] == [near(mean["baseline"]), near(mean["candidate"])]
        bounds = [shown["difference"][key] for key in ("estimate", "low", "high")]
        assert bounds == [near(mean[key]) for key in ("difference", "low", "high")]


def first_met(shown: list[int], grown: recomputed.Grown, multiple: int) -> None:
    """Who had both arms counts where it was met first, and replicas' rows cross on the way."""
    wanted = grown.new[-1].sum(axis=0).tolist()
    assert sum(shown) == sum(wanted)
    assert abs(shown[0] - wanted[0]) <= multiple


def near(value: float | None) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def shown_units(found: dict[str, Any]) -> dict[str, list[int]]:
    """Of the baseline and the candidate, by epoch."""
    return {e["epoch"]: [e["baseline_units"], e["candidate_units"]] for e in found["epochs"]}


def units_of(one: recomputed.Contrast) -> dict[str, list[int]]:
    return dict(zip(one.epochs, one.exposure.units[-1].astype(int).tolist(), strict=True))


def _segments(remote: Remote, branch: str) -> list[str]:
    return remote.files(branch, f"monitoring/predictions/{branch}/")


def outcomes(remote: Remote, branch: str) -> list[dict[str, str]]:
    """Every row of the branch's pushed outcomes."""
    rows: list[dict[str, str]] = []
    for path in remote.files(branch, f"monitoring/outcomes/{branch}/"):
        rows += csv.DictReader(io.StringIO(git(remote.path, "show", f"refs/heads/{branch}:{path}")))
    return rows


def told_by_rows(remote: Remote) -> list[dict[str, Any]]:
    """The contrasts, as they follow from what is in the repository alone."""
    command = [sys.executable, "-m", "gateway", "results", "--repository", remote.address, "--json"]
    done = subprocess.run(command, capture_output=True, check=True)
    told: list[dict[str, Any]] = json.loads(done.stdout)["contrasts"]
    return told


def _difference(written: Counter[Any], accepted: Counter[Any]) -> str:
    missing, more = accepted - written, written - accepted
    return f"{len(missing)} missing, {len(more)} more: {[*missing][:3]}, {[*more][:3]}"


def most_lost(crowd: Crowd) -> int:
    """Requests that may have been cut off: those under way when a front was killed."""
    return crowd.kills * CONNECTIONS
